//! Values and rows as both databases have them.

use super::Trouble;
use crate::error::Error;

/// One value of a statement or a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Value {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// It has no JSON.
    pub(in crate::auth) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, Trouble> {
        serde_json::to_string(value).map(Self::Text).map_err(|error| Trouble::Store(error.into()))
    }
}

/// One row, read from its first value to its last.
pub(in crate::auth) struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// Takes over the values of a row.
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// Returns the next value, a text.
    ///
    /// # Errors
    /// It is none: a damaged row must not open doors. So for all that follow.
    pub(in crate::auth) fn text(&mut self) -> Result<String, Trouble> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(damaged()),
        }
    }

    /// Returns the next value, a text or nothing.
    ///
    /// # Errors
    /// It is neither.
    pub(in crate::auth) fn optional_text(&mut self) -> Result<Option<String>, Trouble> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(damaged()),
        }
    }

    /// Returns the next value, a number.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::auth) fn int(&mut self) -> Result<i64, Trouble> {
        self.optional_int()?.ok_or_else(damaged)
    }

    /// Returns the next value, a number or nothing.
    ///
    /// # Errors
    /// It is neither.
    pub(in crate::auth) fn optional_int(&mut self) -> Result<Option<i64>, Trouble> {
        match self.0.next() {
            Some(Value::Int(number)) => Ok(Some(number)),
            Some(Value::Null) => Ok(None),
            _ => Err(damaged()),
        }
    }

    /// Returns the next value, yes or no.
    ///
    /// # Errors
    /// It is neither.
    pub(in crate::auth) fn bool(&mut self) -> Result<bool, Trouble> {
        match self.0.next() {
            Some(Value::Bool(yes)) => Ok(yes),
            // SQLite has no other word for it.
            Some(Value::Int(number)) => Ok(number != 0),
            _ => Err(damaged()),
        }
    }

    /// Returns the next value, bytes.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::auth) fn blob(&mut self) -> Result<Vec<u8>, Trouble> {
        match self.0.next() {
            Some(Value::Blob(bytes)) => Ok(bytes),
            _ => Err(damaged()),
        }
    }

    /// Returns the next value, 32 bytes.
    ///
    /// # Errors
    /// It is none, or has another length.
    pub(in crate::auth) fn hash(&mut self) -> Result<[u8; 32], Trouble> {
        self.blob()?.try_into().map_err(|_| damaged())
    }

    /// Returns the next value, 32 bytes or nothing.
    ///
    /// # Errors
    /// It is neither.
    pub(in crate::auth) fn optional_hash(&mut self) -> Result<Option<[u8; 32]>, Trouble> {
        match self.0.next() {
            Some(Value::Blob(bytes)) => Ok(Some(bytes.try_into().map_err(|_| damaged())?)),
            Some(Value::Null) => Ok(None),
            _ => Err(damaged()),
        }
    }

    /// Returns the next value, read from JSON.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::auth) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Trouble> {
        serde_json::from_str(&self.text()?).map_err(|error| Trouble::Store(error.into()))
    }
}

fn damaged() -> Trouble {
    Trouble::Store(Error::internal("a row of the key store is not what was written").into())
}
