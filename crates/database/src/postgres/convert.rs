//! Conversion between values and parameters, by the types of the prepared statement.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::BytesMut;
use tokio_postgres::Statement;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::error::Error;
use crate::value::{ColumnNames, Row, Value};

/// A value that was checked against its parameter's type.
#[derive(Debug)]
pub(super) struct Bound(Value);

/// The value of one column.
struct Cell(Value);

type Unfit = Box<dyn StdError + Sync + Send>;

/// Converts parameters and checks them before the request: a wrong one does not abort the
/// transaction.
pub(super) fn bind(statement: &Statement, params: Vec<Value>) -> Result<Vec<Bound>, Error> {
    let types = statement.params();
    if types.len() != params.len() {
        let (wanted, given) = (types.len(), params.len());
        return Err(Error::Statement(format!(
            "it has {wanted} parameters, but {given} were given"
        )));
    }
    let places = params.into_iter().zip(types).zip(1..);
    places.map(|((value, kind), place)| check(&value, kind, place).map(|()| Bound(value))).collect()
}

/// Returns the names of a row's columns.
pub(super) fn names(row: &tokio_postgres::Row) -> Arc<ColumnNames> {
    Arc::new(row.columns().iter().map(|column| column.name()).collect())
}

/// Converts a row into values.
pub(super) fn row(row: &tokio_postgres::Row, names: &Arc<ColumnNames>) -> Result<Row, Error> {
    let value = |column: usize| match row.try_get::<_, Cell>(column) {
        Ok(Cell(value)) => Ok(value),
        Err(_) => Err(Error::Column {
            column: row
                .columns()
                .get(column)
                .map_or_else(|| column.to_string(), |found| found.name().to_owned()),
            wanted: "a type of the portable subset",
        }),
    };
    let values = (0..row.len()).map(value).collect::<Result<_, _>>()?;
    Ok(Row::new(Arc::clone(names), values))
}

fn check(value: &Value, kind: &Type, place: usize) -> Result<(), Error> {
    let fits = match value {
        Value::Null => true,
        Value::Int(value) => match *kind {
            Type::INT8 | Type::FLOAT8 => true,
            Type::INT4 => in_range(i32::try_from(*value).is_ok(), kind, place)?,
            Type::INT2 => in_range(i16::try_from(*value).is_ok(), kind, place)?,
            _ => false,
        },
        Value::Double(value) if value.is_nan() => {
            return Err(Error::Constraint("NaN cannot be stored".into()));
        }
        Value::Double(_) => *kind == Type::FLOAT8,
        Value::Bool(_) => *kind == Type::BOOL,
        Value::Text(text) if text.as_bytes().contains(&0) => {
            return Err(Error::Constraint(
                "a text contains a NUL character, which cannot be stored".into(),
            ));
        }
        Value::Text(_) => is_text(kind) || is_written_as_text(kind),
        Value::Bytes(_) => *kind == Type::BYTEA,
    };
    if fits {
        return Ok(());
    }
    let (given, sql) = match value {
        Value::Null => ("NULL", "TEXT"),
        Value::Int(_) => ("an Int", "BIGINT"),
        Value::Double(_) => ("a Double", "DOUBLE PRECISION"),
        Value::Bool(_) => ("a Bool", "BOOLEAN"),
        Value::Text(_) => ("a Text", "TEXT"),
        Value::Bytes(_) => ("Bytes", "BYTEA"),
    };
    Err(Error::Statement(format!(
        "${place} has type {kind}, but {given} was given: write CAST(${place} AS {sql})"
    )))
}

fn in_range(fits: bool, kind: &Type, place: usize) -> Result<bool, Error> {
    if fits {
        Ok(true)
    } else {
        Err(Error::Constraint(format!("${place} is out of the range of {kind}")))
    }
}

fn is_text(kind: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(kind)
}

/// Returns whether the server parses this type from a text: arrays of `super::array`, and JSON.
fn is_written_as_text(kind: &Type) -> bool {
    matches!(kind.kind(), Kind::Array(_)) || [Type::JSON, Type::JSONB].contains(kind)
}

impl ToSql for Bound {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Unfit> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(value) => match *kind {
                Type::INT4 => i32::try_from(*value)?.to_sql(kind, out),
                Type::INT2 => i16::try_from(*value)?.to_sql(kind, out),
                #[expect(clippy::cast_precision_loss, reason = "as both databases do it")]
                Type::FLOAT8 => (*value as f64).to_sql(kind, out),
                _ => value.to_sql(kind, out),
            },
            Value::Double(value) => value.to_sql(kind, out),
            Value::Bool(value) => value.to_sql(kind, out),
            Value::Text(value) => {
                out.extend_from_slice(value.as_bytes());
                Ok(IsNull::No)
            }
            Value::Bytes(value) => value.to_sql(kind, out),
        }
    }

    fn encode_format(&self, kind: &Type) -> Format {
        match self.0 {
            Value::Text(_) if is_written_as_text(kind) => Format::Text,
            Value::Text(_)
            | Value::Null
            | Value::Int(_)
            | Value::Double(_)
            | Value::Bool(_)
            | Value::Bytes(_) => Format::Binary,
        }
    }

    fn accepts(_: &Type) -> bool {
        true // `bind` has checked it
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Cell, Unfit> {
        Ok(Cell(match *kind {
            Type::INT8 => Value::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(kind, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(kind, raw)?.into()),
            Type::NUMERIC => numeric(raw).ok_or("not a whole number in the range of BIGINT")?,
            Type::FLOAT8 => Value::Double(f64::from_sql(kind, raw)?),
            Type::FLOAT4 => Value::Double(f32::from_sql(kind, raw)?.into()),
            Type::BOOL => Value::Bool(bool::from_sql(kind, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::VOID => Value::Null,
            _ if is_text(kind) => Value::Text(String::from_sql(kind, raw)?),
            _ => return Err("not a type of the portable subset".into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Cell, Unfit> {
        Ok(Cell(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Converts a NUMERIC, which is the type of a sum of BIGINTs; `None` unless it is a whole number in
/// the range of BIGINT.
///
/// The format has 16-bit words: the number of digits, the exponent of the first digit, the sign,
/// the number of decimals, and the digits to base 10,000.
fn numeric(raw: &[u8]) -> Option<Value> {
    let (words, []) = raw.as_chunks::<2>() else { return None };
    let mut words = words.iter().map(|word| i16::from_be_bytes(*word));
    let (_, exponent, sign, _) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<i16> = words.collect();
    let whole = usize::try_from(exponent + 1).ok()?;
    if digits.iter().skip(whole).any(|digit| *digit != 0) {
        return None;
    }
    let mut number: i128 = 0;
    for place in 0..whole {
        let digit = digits.get(place).copied().unwrap_or(0);
        number = number.checked_mul(10_000)?.checked_add(digit.into())?;
    }
    let signed = match sign {
        0 => number,
        0x4000 => -number,
        _ => return None, // NaN and infinities
    };
    i64::try_from(signed).ok().map(Value::Int)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_whole_numbers() {
        let check = |words: &[u16], expected: Option<i64>| {
            let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(numeric(&raw), expected.map(Value::Int), "{words:x?}");
        };
        check(&[0, 0, 0, 0], Some(0));
        check(&[1, 0, 0, 0, 42], Some(42));
        check(&[2, 1, 0, 0, 12, 3456], Some(123_456));
        check(&[1, 1, 0x4000, 0, 12], Some(-120_000));
        check(&[2, 0, 0, 2, 1, 5000], None); // 1.50
        check(&[2, 0, 0, 2, 1, 0], Some(1)); // 1.00
        check(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5807], Some(i64::MAX));
        check(&[5, 4, 0, 0, 922, 3372, 368, 5477, 5808], None);
        check(&[5, 4, 0x4000, 0, 922, 3372, 368, 5477, 5808], Some(i64::MIN));
        check(&[0, 0, 0xc000, 0], None);
    }

    #[test]
    fn a_value_must_fit_its_parameter_type() {
        let fits = |value: Value, kind: Type| check(&value, &kind, 3);
        for kind in [Type::INT8, Type::TEXT, Type::BYTEA] {
            assert_eq!(fits(Value::Null, kind), Ok(()));
        }
        assert_eq!(fits(Value::Int(7), Type::INT4), Ok(()));
        assert!(matches!(fits(Value::Int(1 << 40), Type::INT4), Err(Error::Constraint(_))));
        let why = fits(Value::Int(7), Type::TEXT).unwrap_err();
        assert_eq!(
            why.to_string(),
            "invalid statement: $3 has type text, but an Int was given: write CAST($3 AS \
             BIGINT)"
        );
        assert!(matches!(fits(Value::Text("7".into()), Type::INT8), Err(Error::Statement(_))));
        assert!(matches!(fits(Value::Double(f64::NAN), Type::FLOAT8), Err(Error::Constraint(_))));
    }
}
