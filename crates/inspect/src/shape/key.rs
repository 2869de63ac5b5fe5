//! The keys of an object, and the types of their values.

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A JSON Schema.
    Schema,
    /// A text.
    Text(Text),
    /// A whole number from 0 to `u32::MAX` or `u64::MAX`.
    Whole(u64),
    /// `true` or `false`.
    Flag,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of values of one shape.
    List(&'static Shape),
    /// An object with keys that the author chooses.
    Map(Text, &'static Shape),
    /// An object with these keys.
    Object(&'static [Key]),
}

/// The types of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// A name of core.
    Name,
    /// The name of a field.
    Field,
    /// A reference to a field.
    Reference,
    /// An HTTP status.
    Status,
}

/// A key of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    /// Its meaning, for the author of a file.
    pub about: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// The JSON of the value that an absent key has.
    pub default: Option<&'static str>,
}

/// A required key.
pub(super) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, required: true, default: None }
}

/// An optional key.
pub(super) const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, about, shape, required: false, default: None }
}

/// An optional key with a default.
pub(super) const fn defaulted(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { name, about, shape, required: false, default: Some(default) }
}

pub(super) const NAME: Shape = Shape::Text(Text::Name);
pub(super) const NAMES: Shape = Shape::List(&NAME);
pub(super) const FIELDS: Shape = Shape::List(&Shape::Text(Text::Field));
pub(super) const U32: Shape = Shape::Whole(u32::MAX as u64);
pub(super) const U64: Shape = Shape::Whole(u64::MAX);

/// The key of every file's version.
pub(super) const VERSION: Key =
    required("version", U32, "The version from 1 on. Every change needs a higher version.");
