//! How a photo is laid out on tiles: the arithmetic of `MllamaImageProcessor`
//! (transformers, `image_processing_mllama.py`).

/// Rows and columns of tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Grid {
    pub(super) fn tiles(self) -> usize {
        self.rows * self.columns
    }
}

/// Where a photo of some size goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) grid: Grid,
    /// Size of the resized photo, in the canvas's upper left corner.
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The grids of at most `tiles_max` tiles, in the order that gives aspect ratios their ids.
pub(super) fn grids(tiles_max: usize) -> impl Iterator<Item = Grid> {
    (1..=tiles_max)
        .flat_map(move |rows| (1..=tiles_max / rows).map(move |columns| Grid { rows, columns }))
}

/// The smallest enlargement that a grid allows, or else the least reduction. Of grids that tie the
/// reference takes the one of least area, which in this order is always the first: where one grid
/// is bound by its rows and another by its columns, those rows and columns are a grid too.
fn best_grid(width: usize, height: usize, tiles_max: usize, tile_px: usize) -> Grid {
    let scale = |grid: Grid| {
        let by_height = (grid.rows * tile_px) as f64 / height as f64;
        let by_width = (grid.columns * tile_px) as f64 / width as f64;
        by_height.min(by_width)
    };
    let better = |a: f64, b: f64| match (a >= 1.0, b >= 1.0) {
        (true, true) => a < b,
        (false, false) => a > b,
        (a_enlarges, _) => a_enlarges,
    };
    let mut best = Grid { rows: 1, columns: 1 };
    for grid in grids(tiles_max) {
        if better(scale(grid), scale(best)) {
            best = grid;
        }
    }
    best
}

/// The layout of a photo on at most `tiles_max` tiles of `tile_px` a side.
pub(super) fn layout(width: usize, height: usize, tiles_max: usize, tile_px: usize) -> Layout {
    let grid = best_grid(width, height, tiles_max, tile_px);
    let target_width = width.clamp(tile_px, grid.columns * tile_px);
    let target_height = height.clamp(tile_px, grid.rows * tile_px);
    let scale_h = target_height as f64 / height as f64;
    let scale_w = target_width as f64 / width as f64;
    let scaled = |side: usize, scale: f64, target: usize| {
        ((side as f64 * scale).floor() as usize).max(1).min(target)
    };
    if scale_w < scale_h {
        Layout { grid, width: target_width, height: scaled(height, scale_w, target_height) }
    } else {
        Layout { grid, width: scaled(width, scale_h, target_width), height: target_height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_tiles_have_the_published_eight_grids() {
        let published = [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1)];
        let ours: Vec<_> = grids(4).map(|grid| (grid.rows, grid.columns)).collect();
        assert_eq!(ours, published);
    }
}
