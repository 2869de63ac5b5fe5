//! Renders a picture as SVG. Text widths are estimated from above, because the font is unknown.

use std::fmt::Write as _;

use super::picture::{Arrow, Card, Look, Picture, Row, Way};

/// Margin of the page.
const MARGIN: usize = 24;
/// Distance between cards of neighbouring lanes.
const GAP: usize = 36;
/// Height of the title and the lanes' names.
const HEAD: usize = 104;
/// Minimum width of a card.
const CARD_MIN: usize = 120;
/// Padding above and below a card's text.
const PADDING: usize = 10;
/// Height of a line of text.
const LINE: usize = 18;
/// Height of an arrow with its label. `LOOP` is added for an arrow within one lane.
const ARROW: usize = 34;
const LOOP: usize = 16;
/// Height of a text across all lanes.
const RULE: usize = 52;
/// Distance below a card.
const BELOW: usize = 8;
/// Distance of the legend's text from the margin.
const LEGEND: usize = 44;

const STYLE: &str = "
    text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1c2733 }
    .title { font-size: 18px; font-weight: 600 } .lane { font-weight: 600; fill: #3b4a5a }
    .name { font-weight: 600 } .note { font-size: 12px; fill: #566575 }
    .life { stroke: #d3dce5 } .head { fill: #e8eef4 } .rule { stroke: #8fa0b0; stroke-dasharray: \
    2 4 }
    .card { fill: #fff; stroke: #3b4a5a; stroke-width: 1.5 }
    .pivot { fill: #fff4d6; stroke: #b7791f; stroke-width: 3 } .retriable { fill: #e6f4ea; \
    stroke: #2f7d46 }
    .undo { fill: #fdf3f2; stroke: #b3382c; stroke-dasharray: 6 4 }
    .arrow { fill: none; stroke-width: 2 } .label { paint-order: stroke; stroke: #f7f9fb; \
    stroke-width: 4px }
    .forward { stroke: #2563a8 } .failure { stroke: #b3382c } .back { stroke: #b3382c; \
    stroke-dasharray: 6 4 }
    .is-forward { fill: #1d4f87 } .is-failure, .is-back { fill: #982c21 }
";

impl Picture {
    /// Returns a self-contained SVG document, dark on light.
    pub fn svg(&self) -> String {
        let layout = Layout::of(self);
        let (mut body, mut y) = (String::new(), HEAD);
        for row in &self.rows {
            layout.row(&mut body, row, y);
            y += height(row);
        }
        let (width, total) = (layout.width, y + self.legend().count() * LINE + MARGIN + LINE / 2);
        let title = escaped(&self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{total}\" \
             viewBox=\"0 0 {width} {total}\" role=\"img\">\n  <title>{title}</title>\n  \
             <style>{STYLE}  </style>\n  \
             <defs>{}{}</defs>\n  \
             <rect width=\"{width}\" height=\"{total}\" fill=\"#f7f9fb\"/>\n  \
             <text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{title}</text>\n",
            head("forward", "#2563a8"),
            head("back", "#b3382c"),
            MARGIN + 18
        );
        for (lane, name) in self.lanes.iter().enumerate() {
            layout.lane(&mut svg, lane, name, y);
        }
        svg.push_str(&body);
        for (index, (way, about)) in self.legend().enumerate() {
            let y = y + (index + 1) * LINE;
            line(&mut svg, way, &format!("M{MARGIN} {y}h34"));
            let (x, base) = (MARGIN + LEGEND, y + 4);
            let _ = writeln!(svg, "  <text class=\"note\" x=\"{x}\" y=\"{base}\">{about}</text>");
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Returns the legend entries of the arrows in the picture.
    fn legend(&self) -> impl Iterator<Item = (Way, &'static str)> {
        let drawn = |way: Way| {
            self.rows.iter().any(|row| matches!(row, Row::Arrow(arrow) if arrow.way == way))
        };
        self.legend.iter().copied().filter(move |(way, _)| drawn(*way))
    }
}

/// Widths of the page, the lanes and the cards.
struct Layout {
    width: usize,
    lane: usize,
    card: usize,
}

impl Layout {
    fn of(picture: &Picture) -> Layout {
        let cards = picture.rows.iter().flat_map(|row| match row {
            Row::Cards(cards) => cards.as_slice(),
            Row::Arrow(_) | Row::Rule(_) => &[],
        });
        let texts = cards.map(|card| {
            let notes = card.notes.iter().map(|note| wide(note, 8)).max().unwrap_or(0);
            notes.max(wide(&card.title, 9))
        });
        let lanes = picture.lanes.iter().map(|name| wide(name, 9));
        let card = texts.chain(lanes).max().unwrap_or(0).max(CARD_MIN) + 2 * PADDING;
        let mut layout = Layout { width: 0, lane: card + GAP, card };
        let rows = picture.rows.iter().map(|row| match row {
            Row::Cards(_) => 0,
            Row::Arrow(arrow) => layout.label(arrow) + wide(&arrow.label, 8),
            Row::Rule(text) => MARGIN + wide(text, 8),
        });
        let legend = picture.legend().map(|(_, about)| MARGIN + LEGEND + wide(about, 8));
        let all = [MARGIN + wide(&picture.title, 12), layout.left(picture.lanes.len()) - GAP];
        let needed = rows.chain(legend).chain(all);
        layout.width = needed.max().unwrap_or(0) + MARGIN;
        layout
    }

    fn left(&self, lane: usize) -> usize {
        MARGIN + lane * self.lane
    }

    fn middle(&self, lane: usize) -> usize {
        self.left(lane) + self.card / 2
    }

    /// Returns the x coordinate of an arrow's label: the left end of the arrow.
    fn label(&self, arrow: &Arrow) -> usize {
        self.middle(arrow.to.iter().copied().chain([arrow.from]).min().unwrap_or(0)) + 12
    }

    fn lane(&self, svg: &mut String, lane: usize, name: &str, bottom: usize) {
        let (left, middle, width, top) = (self.left(lane), self.middle(lane), self.card, HEAD - 44);
        let _ = writeln!(
            svg,
            "  <rect class=\"head\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"28\" \
             rx=\"14\"/>\
             <text class=\"lane\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <path class=\"life\" d=\"M{middle} {}V{bottom}\"/>",
            top + 19,
            escaped(name),
            top + 28
        );
    }

    fn row(&self, svg: &mut String, row: &Row, y: usize) {
        match row {
            Row::Cards(cards) => cards.iter().for_each(|card| self.card(svg, card, y)),
            Row::Arrow(arrow) => self.arrow(svg, arrow, y),
            Row::Rule(text) => {
                let (line, right, base) = (y + 14, self.width - MARGIN, y + 36);
                let _ = writeln!(
                    svg,
                    "  <path class=\"rule\" d=\"M{MARGIN} {line}H{right}\"/>\
                     <text class=\"note label\" x=\"{MARGIN}\" y=\"{base}\">{}</text>",
                    escaped(text)
                );
            }
        }
    }

    fn card(&self, svg: &mut String, card: &Card, y: usize) {
        let look = match card.look {
            Look::Plain => "",
            Look::Pivot => " pivot",
            Look::Retriable => " retriable",
            Look::Undo => " undo",
        };
        let (left, middle, width, height) =
            (self.left(card.lane), self.middle(card.lane), self.card, tall(card));
        let _ = writeln!(
            svg,
            "  <rect class=\"card{look}\" x=\"{left}\" y=\"{y}\" width=\"{width}\" \
             height=\"{height}\" rx=\"8\"/>\
             <text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            y + PADDING + 13,
            escaped(&card.title)
        );
        for (index, note) in card.notes.iter().enumerate() {
            let base = y + PADDING + 13 + (index + 1) * LINE;
            let note = escaped(note);
            let _ = writeln!(
                svg,
                "  <text class=\"note\" x=\"{middle}\" y=\"{base}\" \
                 text-anchor=\"middle\">{note}</text>"
            );
        }
    }

    fn arrow(&self, svg: &mut String, arrow: &Arrow, y: usize) {
        let (from, y) = (self.middle(arrow.from), y + 24);
        let class = class(arrow.way);
        let _ =
            writeln!(svg, "  <circle class=\"is-{class}\" cx=\"{from}\" cy=\"{y}\" r=\"3.5\"/>");
        for to in arrow.to.iter().copied() {
            if to == arrow.from {
                line(svg, arrow.way, &format!("M{from} {y}h24q6 0 6 6v4q0 6 -6 6h-23"));
            } else {
                line(svg, arrow.way, &format!("M{from} {y}H{}", self.middle(to)));
            }
        }
        if arrow.to.is_empty() {
            let _ = writeln!(
                svg,
                "  <path class=\"arrow {class}\" d=\"M{from} {y}h30\"/>\
                 <circle class=\"arrow {class}\" style=\"stroke-dasharray:none\" cx=\"{}\" \
                 cy=\"{y}\" r=\"4\"/>",
                from + 34
            );
        }
        let (x, label) = (self.label(arrow), escaped(&arrow.label));
        let _ = writeln!(
            svg,
            "  <text class=\"label is-{class}\" x=\"{x}\" y=\"{}\">{label}</text>",
            y - 7
        );
    }
}

fn line(svg: &mut String, way: Way, path: &str) {
    let head = if way == Way::Forward { "forward" } else { "back" };
    let class = class(way);
    let _ =
        writeln!(svg, "  <path class=\"arrow {class}\" d=\"{path}\" marker-end=\"url(#{head})\"/>");
}

fn class(way: Way) -> &'static str {
    match way {
        Way::Forward => "forward",
        Way::Failure => "failure",
        Way::Back => "back",
    }
}

fn head(name: &str, colour: &str) -> String {
    format!(
        "<marker id=\"{name}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"5\" \
         markerHeight=\"5\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{colour}\"/></marker>"
    )
}

fn height(row: &Row) -> usize {
    match row {
        Row::Cards(cards) => cards.iter().map(tall).max().unwrap_or(0) + BELOW,
        Row::Arrow(arrow) if arrow.to.contains(&arrow.from) => ARROW + LOOP,
        Row::Arrow(_) => ARROW,
        Row::Rule(_) => RULE,
    }
}

fn tall(card: &Card) -> usize {
    2 * PADDING + LINE * (1 + card.notes.len())
}

/// Estimates a text's width from above: `letter` per ASCII character and twice that for others.
fn wide(text: &str, letter: usize) -> usize {
    text.chars().map(|of| if of.is_ascii() { letter } else { 2 * letter }).sum()
}

/// Escapes text for XML and replaces characters that XML does not allow.
fn escaped(text: &str) -> String {
    let allowed = |letter: char| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}');
    let text: String =
        text.chars().map(|letter| if allowed(letter) { letter } else { '\u{fffd}' }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
