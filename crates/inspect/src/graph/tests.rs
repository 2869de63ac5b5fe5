//! The content of pictures, and that no two elements overlap.

use sagamore_core::Plan;
use sagamore_core::definition::Definition;
use serde_json::{Value, json};

use super::{of_definition, of_plan};
use crate::files::testing::{checkout, fulfilment};

/// A guest rings, and two hosts open in parallel or are away.
fn visit() -> Plan {
    Plan::named("visit")
        .begins("guest", "ring", "bell.rung")
        .undone_on(["first.away", "second.away"], "guest.gone")
        .reaction("first", "open")
        .on(["bell.rung"])
        .emits(["door.opened"])
        .fails(["first.away"])
        .undone_on(["second.away"], "door.closed")
        .reaction("second", "cook")
        .on(["bell.rung"])
        .emits(["meal.cooked"])
        .fails(["second.away"])
        .undone_on(["first.away"], "meal.eaten")
        .pivot("guest", "eat")
        .on(["door.opened", "meal.cooked"])
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Two parallel steps of one service, and field names that need escaping.
fn trip() -> Definition {
    let ask = |participant: &str, message: &str| {
        json!({
            "participant": participant, "message": message,
        })
    };
    let room = |name: &str| {
        json!({
            "name": name,
            "kind": "compensatable",
            "after": [],
            "action": ask("village", "room.book"),
            "compensation": ask("village", "room.free"),
            "yields": ["a<b>&c", "\u{1b}[31m", "x".repeat(60)],
        })
    };
    let train = json!({
        "name": "train",
        "kind": "pivot",
        "after": ["inn", "hotel"],
        "action": ask("railway", "seat.buy"),
    });
    let steps: Vec<Value> = vec![room("inn"), room("hotel"), train];
    serde_json::from_value(json!({ "name": "trip", "version": 2, "input": [], "steps": steps }))
        .expect("a definition")
}

/// Returns all rectangles of a class, as left, top, right, bottom.
fn rectangles(svg: &str, class: &str) -> Vec<[usize; 4]> {
    let tags =
        svg.split("<rect ").skip(1).filter(|tag| tag.starts_with(&format!("class=\"{class}")));
    let places = tags.map(|tag| ["x", "y", "width", "height"].map(|name| number(tag, name)));
    places.map(|[x, y, width, height]| [x, y, x + width, y + height]).collect()
}

fn number(tag: &str, attribute: &str) -> usize {
    let value =
        tag.split(&format!(" {attribute}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {attribute} in {tag}"))
}

#[track_caller]
fn check(svg: &str, cards: usize) {
    let page = [0, 0, number(svg, "width"), number(svg, "height")];
    let places = rectangles(svg, "card");
    assert_eq!(places.len(), cards, "{svg}");
    for (index, one) in places.iter().enumerate() {
        assert!(one[2] <= page[2] && one[3] <= page[3], "{one:?} is not in {page:?}");
        let overlap = |other: &&[usize; 4]| {
            one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3]
        };
        assert_eq!(places[..index].iter().find(overlap), None, "{one:?} overlaps another card");
    }
    // a label is above its arrow, and no card overlaps it
    for label in svg.split("<text class=\"label").skip(1) {
        let (x, y, letters) = (
            number(label, "x"),
            number(label, "y"),
            label.split(['>', '<']).nth(1).unwrap_or_default(),
        );
        assert!(x + 7 * letters.len() <= page[2], "{letters} exceeds the page");
        assert!(
            places.iter().all(|card| y + 7 < card[1] || card[3] <= y - 10),
            "{letters} overlaps a card"
        );
    }
}

#[test]
fn no_two_elements_overlap() {
    check(&of_plan(&visit()).svg(), 4 + 3);
    check(&of_plan(&fulfilment()).svg(), 5 + 3);
    check(&of_definition(&trip()).svg(), 3 + 2);
    check(&of_definition(&checkout()).svg(), 5 + 3);
}

#[test]
fn the_pivot_and_compensations_have_their_own_style() {
    for svg in [of_plan(&visit()).svg(), of_definition(&trip()).svg()] {
        assert_eq!(rectangles(&svg, "card pivot").len(), 1);
        assert!(rectangles(&svg, "card undo").len() > 1);
        assert!(svg.contains(".undo { fill: #fdf3f2; stroke: #b3382c; stroke-dasharray: 6 4 }"));
        assert!(svg.contains("class=\"arrow back\""));
    }
}

#[test]
fn every_event_has_arrows_to_its_consumers() {
    let svg = of_plan(&visit()).svg();
    for event in visit().parts().flat_map(|part| part.events()).map(|(event, _)| event.to_string())
    {
        assert_eq!(svg.matches(&format!(">{event}</text>")).count(), 1, "{event}");
    }
    // both hosts consume the bell; no service consumes the undo events
    assert_eq!(
        svg.matches("class=\"arrow forward\" d=\"M").count(),
        2 + 1 + 1 + 1,
        "two to the hosts, one for each other event, and one in the legend: {svg}"
    );
    assert_eq!(svg.matches("style=\"stroke-dasharray:none\"").count(), 3);
}

#[test]
fn field_names_are_escaped() {
    let svg = of_definition(&trip()).svg();
    assert!(svg.contains("a&lt;b&gt;&amp;c") && !svg.contains("<b>"), "{svg}");
    assert!(!svg.contains(|letter: char| letter.is_control() && letter != '\n'), "{svg}");
    assert!(
        !svg.contains("href") && !svg.contains("url(http"),
        "the document must be self-contained"
    );
}
