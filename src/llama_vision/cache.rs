//! Keys and values of what was read and written so far.
//!
//! Axes in names: b sequence, g key head, s attended position, e head width.

use tch::Tensor;

/// What one layer keeps.
pub(super) enum LayerCache {
    /// Keys and values of the text, growing with it.
    Text(TextKeys),
    /// Keys and values of the photos, computed once.
    Photos(PhotoKeys),
}

/// Keys and values `[1, g, s, e]` of the photos that each sequence sees from now on; `None` for a
/// sequence without one. A single entry serves every sequence (the hypotheses of a beam).
pub(super) type PhotoKeys = Vec<Option<(Tensor, Tensor)>>;

/// Keys and values in room that grows by half when it is full, so that a token costs no copy of the
/// others.
#[derive(Default)]
pub(super) struct TextKeys {
    /// `[b, g, room, e]` each.
    room: Option<(Tensor, Tensor)>,
    length: i64,
}

impl TextKeys {
    /// Adds `key` and `value [b, g, t, e]`; all of them so far, `[b, g, s, e]`, as views.
    pub(super) fn append(&mut self, key: &Tensor, value: &Tensor) -> (Tensor, Tensor) {
        let added = key.size()[2];
        let needed = self.length + added;
        if self.room.as_ref().is_none_or(|(keys, _)| keys.size()[2] < needed) {
            self.room = Some((self.grown(key, needed, 0), self.grown(value, needed, 1)));
        }
        let (keys, values) = self.room.as_ref().expect("just made");
        keys.narrow(2, self.length, added).copy_(key);
        values.narrow(2, self.length, added).copy_(value);
        self.length = needed;
        (keys.narrow(2, 0, needed), values.narrow(2, 0, needed))
    }

    /// Room for `needed` positions and half as many again, holding what `which` of the two held.
    fn grown(&self, like: &Tensor, needed: i64, which: usize) -> Tensor {
        let (b, g, _, e) = like.size4().expect("[b, g, t, e]");
        let room = like.new_empty([b, g, room_for(needed), e], (like.kind(), like.device()));
        if let Some((keys, values)) = &self.room {
            let old = if which == 0 { keys } else { values };
            room.narrow(2, 0, self.length).copy_(&old.narrow(2, 0, self.length));
        }
        room
    }

    /// Keeps the sequences `rows` (int64), in that order.
    fn select(&mut self, rows: &Tensor) {
        if let Some((keys, values)) = &mut self.room {
            *keys = keys.index_select(0, rows);
            *values = values.index_select(0, rows);
        }
    }
}

/// Positions that are made room for when `needed` of them must fit.
pub(super) fn room_for(needed: i64) -> i64 {
    const ROOM_MIN: i64 = 64;
    (needed + needed / 2).max(ROOM_MIN)
}

/// One entry a layer.
pub(super) struct Cache {
    pub(super) layers: Vec<LayerCache>,
}

impl Cache {
    /// Keeps the sequences `rows` (int64 on the model's device), in that order; a row may be named
    /// several times.
    pub(super) fn select(&mut self, rows: &Tensor) {
        for layer in &mut self.layers {
            if let LayerCache::Text(keys) = layer {
                keys.select(rows);
            }
        }
    }
}
