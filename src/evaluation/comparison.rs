//! Systems side by side, each by several runs that differ in their seed alone.

use std::fmt::Write as _;

use super::bootstrap::Estimate;

/// Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1.
const STUDENT: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
/// The normal distribution's.
const NORMAL: f64 = 1.96;

/// One system's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The system's name.
    pub name: String,
    /// Of every figure the values of its runs; none where no run has it.
    pub values: Vec<Vec<f64>>,
}

/// The mean of several runs' values and its 95 % interval, by Student's t; the value itself, with
/// nothing around it, of one run. `None` of none.
pub fn mean(values: &[f64]) -> Option<Estimate> {
    let count = values.len();
    let value = values.iter().sum::<f64>() / count as f64;
    let half = match count {
        0 => return None,
        1 => 0.0,
        _ => {
            let squares: f64 = values.iter().map(|one| (one - value).powi(2)).sum();
            let deviation = (squares / (count - 1) as f64).sqrt();
            let quantile = STUDENT.get(count - 2).copied().unwrap_or(NORMAL);
            quantile * deviation / (count as f64).sqrt()
        }
    };
    Some(Estimate { value, low: value - half, high: value + half })
}

/// The table in Markdown, one system a row, one figure a column.
pub fn markdown(figures: &[String], rows: &[Row]) -> String {
    let mut text = format!("|  | {} |\n|", figures.join(" | "));
    text += &" --- |".repeat(figures.len() + 1);
    text.push('\n');
    for row in rows {
        let _ = write!(text, "| {} |", row.name);
        for values in &row.values {
            let _ = write!(text, " {} |", cell(values));
        }
        text.push('\n');
    }
    text
}

fn cell(values: &[f64]) -> String {
    match (mean(values), values.len()) {
        (None, _) => "–".to_owned(),
        (Some(only), 1) => rounded(only.value, only.value.abs()),
        (Some(Estimate { value, low, .. }), _) => {
            let half = value - low;
            format!("{} ± {}", rounded(value, half), rounded(half, half))
        }
    }
}

/// `value` to two significant digits of `of`, and to no less than three decimal places.
fn rounded(value: f64, of: f64) -> String {
    let places = if of > 0.0 { 1.0 - of.log10().floor() } else { 3.0 };
    format!("{value:.*}", places.clamp(3.0, 9.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_student_s() {
        // 1, 2, 3: deviation 1, 4.303 / √3 = 2.484.
        let of_three = mean(&[1.0, 2.0, 3.0]).unwrap();
        assert!((of_three.value - 2.0).abs() < 1e-9 && (of_three.high - 4.484).abs() < 1e-3);
        assert_eq!(mean(&[0.5]), Some(Estimate { value: 0.5, low: 0.5, high: 0.5 }));
        assert_eq!(mean(&[]), None);
        let many = mean(&[1.0; 20]).unwrap();
        assert!((many.high - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_table_has_a_row_a_system_and_says_what_is_missing() {
        let rows = [
            Row { name: "word".to_owned(), values: vec![vec![0.5, 0.7], vec![]] },
            Row { name: "none".to_owned(), values: vec![vec![0.25], vec![3e-5]] },
        ];
        let table = markdown(&["f1".to_owned(), "norm".to_owned()], &rows);
        let expected = "|  | f1 | norm |\n| --- | --- | --- |\n\
                        | word | 0.600 ± 1.271 | – |\n| none | 0.250 | 0.000030 |\n";
        assert_eq!(table, expected);
    }
}
