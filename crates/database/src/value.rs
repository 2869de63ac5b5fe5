//! Values of parameters and rows.

use std::sync::Arc;

use crate::error::Error;

/// One value, of a type in the portable subset.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// DOUBLE PRECISION.
    Double(f64),
    /// BOOLEAN.
    Bool(bool),
    /// TEXT.
    Text(String),
    /// BYTEA.
    Bytes(Vec<u8>),
}

/// One row of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    names: Arc<ColumnNames>,
    values: Vec<Value>,
}

/// The names of a result's columns. All its rows share them.
#[derive(Debug, PartialEq)]
pub struct ColumnNames {
    /// All names, one after another.
    text: String,
    /// The end of each name in `text`.
    ends: Vec<usize>,
}

/// Identifies a column: by its name, or by its place in the statement, from 0.
pub trait ColumnKey {
    /// Finds the index of the column. If several columns have the same name, the first one counts.
    fn place(&self, names: &ColumnNames) -> Option<usize>;
    /// Returns the name or number, for error messages.
    fn label(&self) -> String;
}

/// A Rust type with its SQL type.
pub trait SqlType: Into<Value> {
    /// The SQL type, such as `BIGINT`.
    const SQL: &'static str;
}

/// The parameters of a statement: a tuple of values, `()` for none, or a vector.
pub trait Params {
    /// Returns the values for `$1`, `$2`, ...
    fn into_values(self) -> Vec<Value>;
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// The name of the type, for error messages.
    const TYPE: &'static str;
    /// Converts the value if it has this type.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Row {
    /// Creates a row of these values.
    pub fn new(names: Arc<ColumnNames>, values: Vec<Value>) -> Row {
        Row { names, values }
    }

    /// Reads a column.
    ///
    /// # Errors
    /// [`Error::Column`] if the row has no such column, or not of this type.
    pub fn get<T: FromValue>(&self, column: impl ColumnKey) -> Result<T, Error> {
        column
            .place(&self.names)
            .and_then(|place| self.values.get(place))
            .and_then(T::from_value)
            .ok_or_else(|| Error::Column { column: column.label(), wanted: T::TYPE })
    }
}

impl<'a> FromIterator<&'a str> for ColumnNames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> ColumnNames {
        let mut all = ColumnNames { text: String::new(), ends: Vec::new() };
        for name in names {
            all.text.push_str(name);
            all.ends.push(all.text.len());
        }
        all
    }
}

impl ColumnKey for &str {
    fn place(&self, names: &ColumnNames) -> Option<usize> {
        let (text, mut start) = (names.text.as_bytes(), 0);
        names.ends.iter().position(|end| {
            let name = &text[start..*end];
            start = *end;
            name == self.as_bytes()
        })
    }

    fn label(&self) -> String {
        (*self).to_owned()
    }
}

impl ColumnKey for usize {
    fn place(&self, _: &ColumnNames) -> Option<usize> {
        Some(*self)
    }

    fn label(&self) -> String {
        self.to_string()
    }
}

macro_rules! readable {
    ($type:ty, $pattern:pat => $value:expr) => {
        impl FromValue for $type {
            const TYPE: &'static str = stringify!($type);
            fn from_value(value: &Value) -> Option<$type> {
                match value {
                    $pattern => Some($value),
                    _ => None,
                }
            }
        }
    };
}

readable!(i64, Value::Int(value) => *value);
readable!(f64, Value::Double(value) => *value);
readable!(String, Value::Text(value) => value.clone());
readable!(Vec<u8>, Value::Bytes(value) => value.clone());

impl FromValue for bool {
    const TYPE: &'static str = "bool";
    fn from_value(value: &Value) -> Option<bool> {
        match value {
            Value::Bool(value) => Some(*value),
            Value::Int(value) => Some(*value != 0), // SQLite stores a BOOLEAN as 0 or 1
            Value::Null | Value::Double(_) | Value::Text(_) | Value::Bytes(_) => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const TYPE: &'static str = T::TYPE;
    fn from_value(value: &Value) -> Option<Option<T>> {
        match value {
            Value::Null => Some(None),
            present => T::from_value(present).map(Some),
        }
    }
}

macro_rules! storable {
    ($type:ty as $sql:literal, $value:ident => $stored:expr) => {
        impl From<$type> for Value {
            fn from($value: $type) -> Value {
                $stored
            }
        }
        impl SqlType for $type {
            const SQL: &'static str = $sql;
        }
    };
}

storable!(i64 as "BIGINT", value => Value::Int(value));
storable!(i32 as "BIGINT", value => Value::Int(i64::from(value)));
storable!(u32 as "BIGINT", value => Value::Int(i64::from(value)));
storable!(f64 as "DOUBLE PRECISION", value => Value::Double(value));
storable!(bool as "BOOLEAN", value => Value::Bool(value));
storable!(String as "TEXT", value => Value::Text(value));
storable!(&String as "TEXT", value => Value::Text(value.clone()));
storable!(&str as "TEXT", value => Value::Text(value.to_owned()));
storable!(Vec<u8> as "BYTEA", value => Value::Bytes(value));
storable!(&[u8] as "BYTEA", value => Value::Bytes(value.to_vec()));

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<T: SqlType> SqlType for Option<T> {
    const SQL: &'static str = T::SQL;
}

impl Params for () {
    fn into_values(self) -> Vec<Value> {
        Vec::new()
    }
}

impl Params for Vec<Value> {
    fn into_values(self) -> Vec<Value> {
        self
    }
}

macro_rules! tuple_params {
    ($($name:ident),+) => {
        impl<$($name: Into<Value>),+> Params for ($($name,)+) {
            #[expect(non_snake_case, reason = "the type parameters name the tuple's places")]
            fn into_values(self) -> Vec<Value> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}

tuple_params!(A);
tuple_params!(A, B);
tuple_params!(A, B, C);
tuple_params!(A, B, C, D);
tuple_params!(A, B, C, D, E);
tuple_params!(A, B, C, D, E, F);
tuple_params!(A, B, C, D, E, F, G);
tuple_params!(A, B, C, D, E, F, G, H);
tuple_params!(A, B, C, D, E, F, G, H, I);
tuple_params!(A, B, C, D, E, F, G, H, I, J);
