//! `#[derive(Message)]` and the builder, seen from outside.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

use std::time::Duration;

use sagamore_core::definition::{Kind, Problem};
use sagamore_core::typed::{Action, Mirror, Origin, Undoes};
use sagamore_core::{Definition, Message, definition};

#[derive(Message, Debug, PartialEq)]
struct Trip {
    trip_id: String,
    nights: u32,
    r#type: Option<String>,
}

#[derive(Message, Debug, PartialEq)]
#[message(to = "hotel", yields = Booked)]
struct BookRoom {
    trip_id: String,
    nights: u32,
}

#[derive(Message, Debug, PartialEq)]
struct Booked {
    room_number: u32,
    price_in_cents: i64,
}

#[derive(Message, Debug, PartialEq)]
#[message(to = "hotel", undoes = BookRoom)]
struct FreeRoom;

#[derive(Message)]
#[message(to = "hotel", undoes = BookRoom)]
struct CallHotel {
    trip_id: String,
}

#[derive(Message)]
#[message(to = "bank", name = "bank.charge.v2")]
struct Charge {
    cents: i64,
}

#[derive(Message, Debug, PartialEq)]
#[message(to = "mail")]
struct Greet;

/// A module that imports `sagamore` under another name.
mod renamed {
    use sagamore_core as saga;

    #[derive(saga::Message, Debug, PartialEq)]
    #[message(to = "mail", yields = Stamped, crate = sagamore_core)]
    pub struct Stamp {
        pub cents: i64,
    }

    #[derive(saga::Message, Debug, PartialEq)]
    #[message(crate = self::saga)]
    pub struct Stamped {
        pub place: String,
    }

    #[derive(Debug, saga::Refusal)]
    #[refusal(crate = self::saga)]
    pub enum Unstamped {
        #[refusal(code = "no-stamp", message = "no stamp of {cents} cents")]
        NoStamp { cents: i64 },
    }
}

#[test]
fn the_derives_find_a_renamed_crate() {
    use sagamore_core::message::IntoRefusal;
    assert_eq!(<renamed::Stamp as sagamore_core::typed::Message>::NAME, "mail.stamp");
    let stamped: renamed::Stamped =
        sagamore_core::Body::parse(r#"{"place":"Lahti"}"#).unwrap().read().unwrap();
    assert_eq!(stamped, renamed::Stamped { place: "Lahti".into() });
    assert_eq!(
        renamed::Unstamped::NoStamp { cents: 80 }.into_refusal().message,
        "no stamp of 80 cents"
    );
}

fn trip() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("trip").version(1);
    let trip = saga.input::<Trip>();

    let booked = saga
        .step("book-room")
        .sends(BookRoomFrom { trip_id: trip.trip_id, nights: trip.nights })
        .undone_by::<FreeRoom>()
        .yields();

    saga.pivot("charge").sends(ChargeFrom { cents: booked.price_in_cents });

    saga.retriable("greet").sends(Greet);

    saga.build()
}

#[test]
fn names_come_from_the_participant_and_the_type() {
    assert_eq!(Trip::NAME, "trip");
    assert_eq!(BookRoom::NAME, "hotel.book-room");
    assert_eq!(Charge::NAME, "bank.charge.v2");
    assert_eq!(<BookRoom as Action>::PARTICIPANT, "hotel");
    assert_eq!(<<FreeRoom as Undoes>::Action as Message>::NAME, "hotel.book-room");
}

#[test]
fn fields_are_in_camel_case_and_unknown_ones_are_ignored() {
    let trip = Trip { trip_id: "7".into(), nights: 2, r#type: None };
    assert_eq!(serde_json::to_string(&trip).unwrap(), r#"{"tripId":"7","nights":2,"type":null}"#);
    let read: Trip = serde_json::from_str(r#"{"nights":2,"tripId":"7","addedLater":[]}"#).unwrap();
    assert_eq!(read, trip);
    assert_eq!(TripFrom::FIELDS, ["tripId", "nights", "type"]);
}

#[test]
fn a_message_without_fields_is_an_empty_object() {
    assert_eq!(serde_json::to_string(&Greet).unwrap(), "{}");
    assert_eq!(serde_json::from_str::<Greet>(r#"{"addedLater":1}"#).unwrap(), Greet);
    assert!(serde_json::from_str::<Greet>("null").is_err());
}

#[test]
fn references_name_their_source_and_field() {
    let fields = BookedFrom::of(Origin::Step(3)).into_fields();
    assert_eq!(fields["roomNumber"].origin, Origin::Step(3));
    assert_eq!(fields["priceInCents"].name, "priceInCents");
}

#[test]
fn a_plan_in_rust_is_the_plan_in_json() {
    let written = r#"{
        "name": "trip", "version": 1, "input": ["nights", "tripId", "type"],
        "steps": [
            {
                "name": "book-room", "kind": "compensatable",
                "yields": ["roomNumber", "priceInCents"],
                "action": {
                    "participant": "hotel", "message": "hotel.book-room",
                    "fields": {"tripId": "input.tripId", "nights": "input.nights"}
                },
                "compensation": {"participant": "hotel", "message": "hotel.free-room"}
            },
            {
                "name": "charge", "kind": "pivot", "after": ["book-room"],
                "action": {
                    "participant": "bank", "message": "bank.charge.v2",
                    "fields": {"cents": "book-room.priceInCents"}
                }
            },
            {
                "name": "greet", "kind": "retriable",
                "action": {"participant": "mail", "message": "mail.greet"}
            }
        ]
    }"#;
    let written: Definition = serde_json::from_str(written).unwrap();
    assert_eq!(trip().unwrap(), written);
    assert_eq!(trip().unwrap().hash(), written.hash());
}

#[test]
fn patience_and_order_are_part_of_a_steps_declaration() {
    let mut saga = Definition::named("trip").deadline(Duration::from_secs(60));
    let trip = saga.input::<Trip>();
    let book = BookRoomFrom { trip_id: trip.trip_id, nights: trip.nights };
    saga.step("book")
        .sends(book)
        .undone_by::<FreeRoom>()
        .timeout(Duration::from_secs(5))
        .attempts(3)
        .backoff(Duration::from_millis(10), Duration::from_secs(1));
    saga.step("book-too")
        .sends(book)
        .undone_by_with(CallHotelFrom { trip_id: trip.trip_id })
        .after([]);
    saga.pivot("greet").sends(Greet).after(["book-too", "book"]);
    let built = saga.build().unwrap();

    assert_eq!(built.deadline_ms, Some(60_000));
    let patience = built.steps[0].patience;
    assert_eq!((patience.timeout_ms, patience.attempts_max), (5_000, Some(3)));
    assert_eq!((patience.backoff_ms_min, patience.backoff_ms_max), (10, 1_000));
    assert_eq!(
        built.steps[1].compensation.as_ref().unwrap().fields["tripId"].to_string(),
        "input.tripId"
    );
    assert_eq!(format!("{:?}", built.graph().before), "[{}, {}, {0, 1}]");
    assert_eq!(built.steps[2].kind, Kind::Pivot);
}

#[test]
fn problems_of_the_builder_are_reported_by_build() {
    let mut other = Definition::named("other");
    other.step("one").sends(Greet);
    other.step("two").sends(Greet);
    let book = BookRoomFrom {
        trip_id: other.input::<Trip>().trip_id,
        nights: other.input::<Trip>().nights,
    };
    let foreign = other.step("three").sends(book).yields();

    let mut saga = Definition::named("Trip");
    saga.pivot("charge").sends(ChargeFrom { cents: foreign.price_in_cents });
    let _ = saga.step("nothing");
    let problems = saga.build().unwrap_err().problems;

    assert!(matches!(&problems[0], Problem::Malformed(_)), "{problems:?}");
    assert!(
        problems.contains(&Problem::Foreign { step: "charge".into(), field: "cents".into() }),
        "{problems:?}"
    );
    assert!(problems.contains(&Problem::SendsNothing { step: "nothing".into() }), "{problems:?}");
}

#[test]
fn a_compensatable_step_needs_a_compensation() {
    let mut saga = Definition::named("trip");
    saga.step("greet").sends(Greet);
    let error = saga.build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "definition 'trip' cannot run\n- step 'greet' is compensatable but has no compensation: \
         add one, or make it the pivot or retriable"
    );
}

#[test]
fn a_start_is_checked_by_input_type_check_and_key() {
    let mut saga = Definition::named("trip");
    let input = saga.checked_input(|key: &str, trip: &Trip| match trip.nights {
        0 => Err(format!("{key}: nights: at least 1")),
        _ => Ok(()),
    });
    saga.keyed_by(input.trip_id);
    saga.pivot("book-room").sends(BookRoomFrom { trip_id: input.trip_id, nights: input.nights });
    let trip = saga.build().unwrap();
    assert_eq!(trip.key.as_deref(), Some("tripId"));
    let start =
        |key: &str, input: &str| trip.check_start(key, &sagamore_core::Body::parse(input).unwrap());
    assert_eq!(start("7", r#"{"tripId":"7","nights":2,"type":null,"more":1}"#), Ok(()));
    let refused = |key: &str, input: &str, part: &str| {
        let why = start(key, input).expect_err(input).to_string();
        assert!(why.contains(part), "{why}");
    };
    refused(
        "7",
        r#"{"tripId":"7","nights":"two","type":null}"#,
        "the field 'nights' does not fit the message 'trip'",
    );
    refused("7", r#"{"tripId":"7","nights":0,"type":null}"#, "7: nights: at least 1");
    refused("8", r#"{"tripId":"7","nights":2,"type":null}"#, "the business key is '8'");
    refused("7", r#"{"tripId":"7","type":null}"#, "lacks the field 'nights'");
    let read: Definition = serde_json::from_str(&serde_json::to_string(&trip).unwrap()).unwrap();
    assert_eq!(read, trip, "the input's type is not part of a definition's content");
}

#[test]
fn a_key_is_taken_from_the_input() {
    let mut saga = Definition::named("trip");
    let input = saga.input::<Trip>();
    let book = BookRoomFrom { trip_id: input.trip_id, nights: input.nights };
    let booked = saga.step("book-room").sends(book).undone_by::<FreeRoom>().yields();
    saga.keyed_by(booked.room_number);
    let problems = saga.build().unwrap_err().problems;
    assert_eq!(problems, [Problem::KeyOfStep { step: "book-room".into() }]);
}

mod schemas {
    use std::collections::BTreeMap;

    use sagamore_core::typed::JsonSchema;
    use sagamore_core::{Definition, Message};
    use serde_json::{Value, json};

    struct Moment;

    impl serde::Serialize for Moment {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str("now")
        }
    }

    impl<'de> serde::Deserialize<'de> for Moment {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <String as serde::Deserialize>::deserialize(deserializer).map(|_| Moment)
        }
    }

    #[derive(Message)]
    #[message(schema)]
    struct Line {
        #[message(pattern = "^[A-Z]+$")]
        sku: String,
        #[message(minimum = -1, exclusive_maximum = 5_000_000_000)]
        count: i64,
    }

    #[derive(Message)]
    #[message(schema, to = "stock", yields = Line)]
    struct Reserve {
        order_lines: Vec<Line>,
        note: Option<String>,
        #[message(type = "string", format = "date-time")]
        at: Moment,
        small: u8,
        by_name: BTreeMap<String, bool>,
    }

    #[derive(Message)]
    #[message(schema, to = "stock", undoes = Reserve)]
    struct Release;

    #[derive(Message)]
    struct Order {
        order_lines: Vec<Line>,
        note: Option<String>,
        at: Moment,
        small: u8,
        by_name: BTreeMap<String, bool>,
    }

    fn order(typed: bool) -> Definition {
        let mut saga = Definition::named("order");
        if typed {
            saga = saga.typed_schemas();
        }
        let input = saga.input::<Order>();
        let reserve = ReserveFrom {
            order_lines: input.order_lines,
            note: input.note,
            at: input.at,
            small: input.small,
            by_name: input.by_name,
        };
        saga.step("reserve").sends(reserve).undone_by::<Release>();
        saga.build().unwrap()
    }

    #[test]
    fn a_message_describes_its_fields() {
        let line = json!({
            "type": "object",
            "required": ["sku", "count"],
            "properties": {
                "sku": { "type": "string", "pattern": "^[A-Z]+$" },
                "count": {
                    "type": "integer", "minimum": -1, "exclusiveMaximum": 5_000_000_000_i64,
                },
            },
        });
        let expected = json!({
            "type": "object",
            "required": ["orderLines", "at", "small", "byName"],
            "properties": {
                "orderLines": { "type": "array", "items": line },
                "note": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
                "at": { "type": "string", "format": "date-time" },
                "small": { "type": "integer", "minimum": 0, "maximum": 255 },
                "byName": { "type": "object", "additionalProperties": { "type": "boolean" } },
            },
        });
        assert_eq!(Reserve::schema(), Some(expected));
        assert_eq!(Line::json_schema(), Line::schema().unwrap());
        assert_eq!(Release::schema(), Some(json!({ "type": "object", "properties": {} })));
        assert_eq!((Order::schema(), <()>::schema()), (None::<Value>, None));
    }

    #[test]
    fn a_definition_carries_the_schemas_of_its_types_if_it_says_so() {
        let (plain, typed) = (order(false), order(true));
        assert!(plain.schemas.is_empty());
        assert_eq!(typed.schemas.input, None, "the type has no schema");
        let messages: Vec<&str> =
            typed.schemas.messages.keys().map(|message| message.as_str()).collect();
        assert_eq!(messages, ["stock.release", "stock.reserve"]);
        let outputs: Vec<&str> =
            typed.schemas.outputs.keys().map(|message| message.as_str()).collect();
        assert_eq!(outputs, ["stock.reserve"]);
        assert_ne!(plain.hash(), typed.hash());
    }
}
