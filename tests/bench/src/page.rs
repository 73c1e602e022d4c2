//! How figures are shown: tables for a terminal and for Markdown, and one plot. Invariant: everything on a page is computed from the file of figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::statistics::Spread;

/// Everything that is shown of one benchmark.
pub(crate) struct Page {
    pub(crate) tables: Vec<Table>,
    pub(crate) plot: Option<Plot>,
}

impl Page {
    /// The tables for a terminal.
    pub(crate) fn print(&self) {
        for table in &self.tables {
            println!("\n{}", table.aligned());
        }
    }
}

/// Rows under one head.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// `None` without rows.
    pub(crate) fn new(head: &[&str], rows: Vec<Vec<String>>) -> Option<Self> {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        (!rows.is_empty()).then_some(Self { head, rows })
    }

    /// Medians and ranges of ratios.
    pub(crate) fn of_ratios(head: &str, ratios: &BTreeMap<String, Spread>) -> Option<Self> {
        let row = |(name, spread): (&String, &Spread)| {
            let [median, min, max] = [spread.median, spread.min, spread.max].map(|value| format!("{value:.2}"));
            vec![name.clone(), median, format!("{min} to {max}")]
        };
        Self::new(&[head, "median", "range"], ratios.iter().map(row).collect())
    }

    /// With spaces, for a terminal.
    pub(crate) fn aligned(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| self.lines().filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for line in self.lines() {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// For Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (index, line) in self.lines().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(line.len()));
            }
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.rows)
    }
}

impl Spread {
    /// The median, with the range where it is one.
    pub(crate) fn cell(&self) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(number);
        if min == max { median } else { format!("{median} ({min}–{max})") }
    }
}

/// As many digits as mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Bars from zero, each with a whisker for the range.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) spread: Spread,
}

/// Pixels.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 150.0;
const ROW: f64 = 34.0;
const TOP: f64 = 48.0;

impl Plot {
    /// An SVG that stands by itself and can be read on a light and on a dark page.
    pub(crate) fn svg(&self) -> String {
        let highest = self.bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / highest;
        let height = TOP + ROW * self.bars.len() as f64 + 16.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"14\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"16\" y=\"28\" font-size=\"16\" fill=\"#1f2933\">{}</text>\n",
            escaped(&self.title)
        );
        for (index, bar) in self.bars.iter().enumerate() {
            let y = TOP + ROW * index as f64;
            let (middle, spread) = (y + ROW / 2.0, &bar.spread);
            let [length, from, to] = [spread.median, spread.min, spread.max].map(|value| value * scale);
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1f2933\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"#2f6f9f\"/>\n\
                 <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#d9822b\" stroke-width=\"3\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1f2933\">{} {}</text>",
                LEFT - 10.0,
                middle + 5.0,
                escaped(&bar.name),
                y + 6.0,
                ROW - 12.0,
                LEFT + from,
                LEFT + to,
                LEFT + to.max(length) + 8.0,
                middle + 5.0,
                number(spread.median),
                escaped(self.unit),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_table_is_the_same_in_both_forms() {
        let rows = vec![vec!["shop".to_owned(), "1".to_owned()], vec!["a longer name".to_owned(), "20".to_owned()]];
        let table = Table::new(&["variant", "figure"], rows).unwrap();
        assert_eq!(table.markdown(), "| variant | figure |\n|---|---|\n| shop | 1 |\n| a longer name | 20 |\n");
        assert_eq!(table.aligned(), "variant        figure\nshop           1\na longer name  20\n");
        assert!(Table::new(&["variant"], Vec::new()).is_none());
    }

    /// Goal: the longest bar fills the width and no text can break the picture. Method: two bars, one of twice the length, with a name of markup.
    #[test]
    fn bars_are_to_scale() {
        let bar =
            |name: &str, value| Bar { name: name.to_owned(), spread: Spread { median: value, min: value, max: value } };
        let plot = Plot { title: "t".to_owned(), unit: "/s", bars: vec![bar("<a>", 10.0), bar("b", 5.0)] };
        let svg = plot.svg();
        assert!(svg.contains("width=\"380.0\"") && svg.contains("width=\"190.0\""), "{svg}");
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("<a>"), "{svg}");
    }

    #[test]
    fn digits_are_few() {
        assert_eq!([0.0, 0.123, 12.34, 1234.5].map(number), ["0", "0.12", "12.3", "1234"]);
        let spread = Spread { median: 2.0, min: 1.0, max: 3.0 };
        assert_eq!(spread.cell(), "2.00 (1.00–3.00)");
    }
}
