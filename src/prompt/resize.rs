//! Antialiased bilinear resizing of 8-bit RGB, equal to torchvision's on `uint8` tensors
//! (PyTorch, `UpSampleKernel.cpp`: integer weights, rows first, 8 bits between the passes).

/// The taps that one output pixel sums.
struct Taps {
    /// First input pixel.
    first: usize,
    /// Fixed-point weights.
    weights: Vec<i32>,
}

/// The taps of one axis and the binary places of their weights.
struct Axis {
    taps: Vec<Taps>,
    places: u32,
}

impl Axis {
    /// A triangle filter as wide as the reduction (Pillow's convention: pixel centres at halves).
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let sharpness = 1.0 / support;
        let mut weight_max = 0.0_f64;
        let exact: Vec<(usize, Vec<f64>)> = (0..output)
            .map(|at| {
                let centre = scale * (at as f64 + 0.5);
                let first = (centre - support + 0.5).max(0.0) as usize;
                let end = ((centre + support + 0.5) as usize).min(input);
                let mut weights: Vec<f64> = (first..end)
                    .map(|tap| {
                        let distance = (tap as f64 - centre + 0.5) * sharpness;
                        (1.0 - distance.abs()).max(0.0)
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                for weight in &mut weights {
                    *weight /= total;
                    weight_max = weight_max.max(*weight);
                }
                (first, weights)
            })
            .collect();
        // As many places as let the largest weight fit 16 signed bits, at most 22.
        let fits = |places: &u32| 0.5 + weight_max * f64::from(1_u32 << (places + 1)) < 32768.0;
        let places = (0..22).find(|places| !fits(places)).unwrap_or(22);
        let one = f64::from(1_u32 << places);
        let taps = exact
            .into_iter()
            .map(|(first, weights)| Taps {
                first,
                weights: weights.iter().map(|weight| (0.5 + weight * one) as i32).collect(),
            })
            .collect();
        Self { taps, places }
    }

    fn round(&self, sum: i32) -> u8 {
        (sum >> self.places).clamp(0, 255) as u8
    }

    fn half(&self) -> i32 {
        (1 << self.places) >> 1
    }
}

/// Resizes `rgb` (`height` rows of `width` pixels of three bytes) to `new_width` × `new_height`.
pub(super) fn resize_rgb(
    rgb: &[u8],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
) -> Vec<u8> {
    let narrowed;
    let rows = if new_width == width {
        rgb
    } else {
        narrowed = resize_rows(rgb, width, new_width);
        &narrowed
    };
    if new_height == height {
        rows.to_vec()
    } else {
        resize_columns(rows, new_width * 3, new_height)
    }
}

/// Every row to `new_width` pixels.
fn resize_rows(rgb: &[u8], width: usize, new_width: usize) -> Vec<u8> {
    let axis = Axis::new(width, new_width);
    let mut out = vec![0; rgb.len() / width * new_width];
    for (row, out_row) in rgb.chunks_exact(width * 3).zip(out.chunks_exact_mut(new_width * 3)) {
        for (taps, pixel) in axis.taps.iter().zip(out_row.chunks_exact_mut(3)) {
            let mut sums = [axis.half(); 3];
            let inputs = row[taps.first * 3..].chunks_exact(3);
            for (weight, input) in taps.weights.iter().zip(inputs) {
                for channel in 0..3 {
                    sums[channel] += weight * i32::from(input[channel]);
                }
            }
            for channel in 0..3 {
                pixel[channel] = axis.round(sums[channel]);
            }
        }
    }
    out
}

/// Rows of `row_bytes` to `new_height` rows.
fn resize_columns(rows: &[u8], row_bytes: usize, new_height: usize) -> Vec<u8> {
    let axis = Axis::new(rows.len() / row_bytes, new_height);
    let mut out = vec![0; row_bytes * new_height];
    let mut sums = vec![0_i32; row_bytes];
    for (taps, out_row) in axis.taps.iter().zip(out.chunks_exact_mut(row_bytes)) {
        sums.fill(axis.half());
        let inputs = rows[taps.first * row_bytes..].chunks_exact(row_bytes);
        for (&weight, input) in taps.weights.iter().zip(inputs) {
            for (sum, &byte) in sums.iter_mut().zip(input) {
                *sum += weight * i32::from(byte);
            }
        }
        for (byte, &sum) in out_row.iter_mut().zip(&sums) {
            *byte = axis.round(sum);
        }
    }
    out
}
