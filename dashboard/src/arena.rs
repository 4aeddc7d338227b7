//! The arena over time as a picture: which buffer lies where while which layer runs. Drawn on the server, so that it
//! needs no script; colours come from the page's style sheet, or from the file itself where it stands alone.

use std::fmt::Write as _;

use contract::artifact::{BufferReport, CompileReport};

use crate::view::bytes;

/// Least width of a step, in pixels: a number of two digits fits.
const STEP: u32 = 22;
/// Least width of all steps together, in pixels.
const LEAST: u32 = 640;
const LEFT: u32 = 62;
const RIGHT: u32 = 10;
const TOP: u32 = 10;
const HEIGHT: u32 = 230;
const BOTTOM: u32 = 40;
/// Colours that follow one another; neighbours in time differ.
const COLOURS: u32 = 6;
/// Most steps and buffers that are drawn: what a report says comes from outside of the page.
const MOST: usize = 2000;

/// Colours of a picture that stands alone; the page has the same in its style sheet.
const STYLE: &str = "<style>\
text{font:11px sans-serif;fill:#546270}.grid{stroke:#d9e0e6}.bound{stroke:#ad2019;stroke-dasharray:5 4}\
.buffer{stroke:#fff;fill-opacity:.85}.buffer.work{stroke:#546270;stroke-dasharray:3 2;fill:#8494a1;fill-opacity:.35}\
.c0{fill:#5aa79f}.c1{fill:#7f9fd0}.c2{fill:#c9a24d}.c3{fill:#b184c4}.c4{fill:#7fb069}.c5{fill:#d08a7a}\
.in-buffer{fill:#16202a;font-weight:600}\
@media (prefers-color-scheme:dark){text{fill:#9cabb8}.grid{stroke:#2a3642}.buffer{stroke:#151d25}\
.bound{stroke:#ff9a92}.in-buffer{fill:#0d1319}}</style>";

/// The picture as a file of its own; `None` where the report says nothing of the arena.
pub fn file(report: &CompileReport) -> Option<String> {
    draw(report, STYLE)
}

/// The picture as a part of a page; `None` where the report says nothing of the arena.
pub(crate) fn inline(report: &CompileReport) -> Option<String> {
    draw(report, "")
}

fn draw(report: &CompileReport, style: &str) -> Option<String> {
    let steps = u32::try_from(report.layers.len() + 2).ok().filter(|steps| *steps as usize <= MOST)?;
    if report.buffers.is_empty() || report.buffers.len() > MOST || report.arena_bytes == 0 {
        return None;
    }
    let across = LEAST.max(steps * STEP);
    let (width, height) = (LEFT + across + RIGHT, TOP + HEIGHT + BOTTOM);
    let canvas = Canvas {
        step: f64::from(across) / f64::from(steps),
        byte: f64::from(HEIGHT) / f64::from(report.arena_bytes.max(report.arena_bound_bytes)),
        steps,
    };
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The arena over time: {} of {} bytes, step by step">{style}"#,
        report.buffers.len(),
        report.arena_bytes,
    );
    canvas.axes(&mut svg, report, LEFT + across);
    for buffer in &report.buffers {
        canvas.buffer(&mut svg, buffer);
    }
    if report.arena_bound_bytes > 0 {
        let y = canvas.y(report.arena_bound_bytes);
        line(&mut svg, "bound", (LEFT.into(), y), ((LEFT + across).into(), y));
    }
    svg.push_str("</svg>");
    Some(svg)
}

struct Canvas {
    /// Pixels a step.
    step: f64,
    /// Pixels a byte.
    byte: f64,
    steps: u32,
}

impl Canvas {
    fn x(&self, step: u32) -> f64 {
        f64::from(LEFT) + f64::from(step.min(self.steps)) * self.step
    }

    fn y(&self, at: u32) -> f64 {
        (f64::from(TOP + HEIGHT) - f64::from(at) * self.byte).max(f64::from(TOP))
    }

    fn axes(&self, svg: &mut String, report: &CompileReport, right: u32) {
        for at in [0, report.arena_bytes / 2, report.arena_bytes] {
            let y = self.y(at);
            line(svg, "grid", (LEFT.into(), y), (right.into(), y));
            text(svg, "", "end", (f64::from(LEFT) - 6.0, y + 4.0), &bytes(at));
        }
        for step in 0..self.steps {
            let name = match step {
                0 => "in".to_owned(),
                step if step + 1 == self.steps => "out".to_owned(),
                step => step.to_string(),
            };
            text(svg, "", "middle", (self.x(step) + self.step / 2.0, f64::from(TOP + HEIGHT) + 15.0), &name);
        }
        let middle = f64::from(LEFT + right) / 2.0;
        let about = "layers in order of execution; a buffer has the number of the layer that writes it";
        text(svg, "", "middle", (middle, f64::from(TOP + HEIGHT) + 33.0), about);
    }

    fn buffer(&self, svg: &mut String, buffer: &BufferReport) {
        let end = buffer.last.max(buffer.first).saturating_add(1);
        let (left, right) = (self.x(buffer.first) + 0.5, self.x(end) - 0.5);
        let top = self.y(buffer.offset.saturating_add(buffer.bytes));
        let (width, height) = ((right - left).max(1.0), (self.y(buffer.offset) - top).max(1.0));
        let work = if buffer.working { " work" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            r#"<g><title>{}: {} at byte {}, steps {} to {}</title><rect class="buffer c{}{work}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" rx="2"/>"#,
            escaped(&buffer.name),
            bytes(buffer.bytes),
            buffer.offset,
            buffer.first,
            buffer.last,
            buffer.first % COLOURS,
        );
        if height >= 12.0 && width >= 14.0 {
            let name = match (buffer.working, buffer.first) {
                (true, _) => "w".to_owned(),
                (false, 0) => "in".to_owned(),
                (false, step) => step.to_string(),
            };
            // In its first step, where nothing lies above it: results may lie over operands in their last.
            text(svg, "in-buffer", "middle", (left + self.step.min(width) / 2.0, top + height / 2.0 + 4.0), &name);
        }
        svg.push_str("</g>");
    }
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = write!(svg, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
}

fn text(svg: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), words: &str) {
    let _ = write!(svg, r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{words}</text>"#);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;").replace('"', "&#34;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(name: &str, offset: u32, bytes: u32, first: u32, last: u32) -> BufferReport {
        BufferReport { name: name.into(), offset, bytes, first, last, working: false }
    }

    fn report(buffers: Vec<BufferReport>) -> CompileReport {
        CompileReport { arena_bytes: 100, arena_bound_bytes: 80, buffers, ..CompileReport::default() }
    }

    #[test]
    fn a_buffer_is_drawn_where_it_lies_and_when() {
        let svg = file(&report(vec![buffer("input", 0, 100, 0, 0), buffer("a<b>", 50, 50, 1, 1)])).unwrap();
        assert!(svg.contains("a&#60;b&#62;: 50 B at byte 50, steps 1 to 1"), "{svg}");
        // Two steps of 320 pixels; the second buffer has the upper half of the second step.
        assert!(svg.contains(r#"x="382.5" y="10.0" width="319.0" height="115.0""#), "{svg}");
        assert!(svg.contains("<style>") && svg.contains(r#"class="bound""#), "{svg}");
        assert!(!inline(&report(vec![buffer("input", 0, 100, 0, 0)])).unwrap().contains("<style>"));
    }

    #[test]
    fn odd_figures_stay_within_the_picture() {
        let wild = buffer("wild", u32::MAX, u32::MAX, u32::MAX, 3);
        let svg = file(&report(vec![wild])).unwrap();
        assert!(svg.contains(r#"x="702.5""#) && svg.contains(r#"y="10.0" width="1.0" height="1.0""#), "{svg}");
        assert_eq!(file(&report(Vec::new())), None);
        assert_eq!(file(&CompileReport { arena_bytes: 0, ..report(vec![buffer("x", 0, 1, 0, 0)]) }), None);
    }
}
