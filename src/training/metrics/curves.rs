//! Curves of a run as one SVG picture, a panel a figure.

use std::collections::BTreeMap;

use plotters::prelude::*;
use serde_json::{Map, Value};

/// What is no curve.
const LEFT_OUT: [&str; 9] = [
    "step",
    "epoch",
    "outcome",
    "tokens",
    "photos",
    "left_out",
    "skipped",
    "seconds",
    "memory_bytes_max",
];
const COLUMNS: usize = 3;
const PANEL_PX: (u32, u32) = (400, 260);
/// Weight of the past in the smooth line.
const SMOOTHING: f64 = 0.95;

/// Points of one curve: step and value.
type Curve = Vec<(f64, f64)>;

/// Draws every figure over the steps, faintly as it is and strongly as a running mean.
pub(super) fn draw(steps: &[Map<String, Value>]) -> String {
    let curves = collect(steps);
    let rows = curves.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL_PX.0 * COLUMNS as u32, PANEL_PX.1 * rows as u32);
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        area.fill(&WHITE).expect("a string takes every drawing");
        for (panel, (name, curve)) in area.split_evenly((rows, COLUMNS)).iter().zip(&curves) {
            draw_panel(panel, name, curve).expect("a string takes every drawing");
        }
        area.present().expect("a string takes every drawing");
    }
    picture
}

fn collect(steps: &[Map<String, Value>]) -> Vec<(&str, Curve)> {
    let mut curves: BTreeMap<&str, Curve> = BTreeMap::new();
    for object in steps {
        let Some(step) = object.get("step").and_then(Value::as_f64) else { continue };
        for (name, value) in object {
            if let Some(value) = value.as_f64()
                && !LEFT_OUT.contains(&name.as_str())
            {
                curves.entry(name).or_default().push((step, value));
            }
        }
    }
    // The losses are what one looks for first.
    let mut curves: Vec<_> = curves.into_iter().collect();
    curves.sort_by_key(|(name, _)| (*name != "loss", !name.ends_with("loss")));
    curves
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type PanelError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw_panel<'a>(panel: &Panel<'a>, name: &str, curve: &Curve) -> Result<(), PanelError<'a>> {
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        // A line without height or width would have no room.
        if high > low { low..high } else { low - 0.5..high + 0.5 }
    };
    let across = bounds(&mut curve.iter().map(|(step, _)| *step));
    let up = bounds(&mut curve.iter().map(|(_, value)| *value));
    let mut chart = ChartBuilder::on(panel)
        .margin(8)
        .caption(name, ("sans-serif", 14))
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(across, up)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_labels(4)
        .y_labels(5)
        .y_label_formatter(&|value| format!("{value:.3e}"))
        .draw()?;
    chart.draw_series(LineSeries::new(curve.iter().copied(), BLUE.mix(0.25)))?;
    chart.draw_series(LineSeries::new(smooth(curve), &BLUE))?;
    Ok(())
}

/// A running mean that doesn't begin at nought.
fn smooth(curve: &Curve) -> Curve {
    let (mut sum, mut weight) = (0.0, 0.0);
    let points = curve.iter().map(|&(step, value)| {
        sum = SMOOTHING * sum + value;
        weight = SMOOTHING * weight + 1.0;
        (step, sum / weight)
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_figure_has_a_panel_and_losses_come_first() {
        let steps: Vec<_> = (1..40)
            .map(|step| {
                let object = json!({
                    "step": step, "outcome": "updated", "gradient_norm": 1.0, "seconds": 2.0,
                    "loss": 1.0 / f64::from(step), "text_loss": null,
                });
                object.as_object().unwrap().clone()
            })
            .collect();
        let names: Vec<_> = collect(&steps).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["loss", "gradient_norm"]);
        let picture = draw(&steps);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{picture}");
        // Axes are lines as well, but black ones: each figure has a faint curve and a strong one.
        let curves = |opacity| format!(r##"opacity="{opacity}" stroke="#0000FF""##);
        for opacity in ["0.25", "1"] {
            assert_eq!(picture.matches(&curves(opacity)).count(), names.len(), "{picture}");
        }
        assert!(picture.contains("gradient_norm") && !picture.contains("seconds"));
    }

    #[test]
    fn the_smooth_line_begins_where_the_curve_does() {
        let curve: Curve = (0..200).map(|step| (f64::from(step), 3.0)).collect();
        assert!(smooth(&curve).iter().all(|&(_, value)| (value - 3.0).abs() < 1e-12));
    }
}
