//! Values of parameters and rows.

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

/// One row, with columns in the statement's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    values: Vec<Value>,
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
    pub fn new(values: Vec<Value>) -> Row {
        Row { values }
    }

    /// Reads the column with this number, from 0.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T, Error> {
        self.values
            .get(column)
            .and_then(T::from_value)
            .ok_or_else(|| Error::Column { column: column.to_string(), wanted: T::TYPE })
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
    ($type:ty, $value:ident => $stored:expr) => {
        impl From<$type> for Value {
            fn from($value: $type) -> Value {
                $stored
            }
        }
    };
}

storable!(i64, value => Value::Int(value));
storable!(i32, value => Value::Int(i64::from(value)));
storable!(u32, value => Value::Int(i64::from(value)));
storable!(f64, value => Value::Double(value));
storable!(bool, value => Value::Bool(value));
storable!(String, value => Value::Text(value));
storable!(&String, value => Value::Text(value.clone()));
storable!(&str, value => Value::Text(value.to_owned()));
storable!(Vec<u8>, value => Value::Bytes(value));
storable!(&[u8], value => Value::Bytes(value.to_vec()));

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
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
