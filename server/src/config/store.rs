//! Where keys and records are kept, as the configuration says it: a value that may hold a password.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Config, values::Secret};
use crate::postgres::Address;

/// The file that keys and records lie in unless the configuration says otherwise, and that is the local ledger if
/// they are kept in PostgreSQL.
const FILE: &str = "tollgate.db";
const SQLITE: &str = "sqlite://";

/// An address of a store. Shown without its password.
#[derive(Clone)]
pub struct Store(Secret);

impl Store {
    pub(super) fn exposed(&self) -> &Secret {
        &self.0
    }

    fn text(&self) -> &str {
        self.0.filled().map_or("", |text| text.expose_secret())
    }

    fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.text().starts_with(scheme))
    }
}

impl Default for Store {
    fn default() -> Self {
        format!("{SQLITE}{FILE}").as_str().into()
    }
}

impl From<&str> for Store {
    fn from(text: &str) -> Self {
        Self(Secret::from(SecretString::from(text)))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_postgres() {
            return match Address::parse(self.text()) {
                Ok(address) => write!(f, "postgres://{}", address.place()),
                Err(_) => f.write_str("[not an address]"),
            };
        }
        // What is neither is refused, and may be a secret in the wrong place.
        f.write_str(Some(self.text()).filter(|text| text.starts_with(SQLITE)).unwrap_or("[not a store]"))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Store {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Store {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Store".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let form = "Write `sqlite://` and a path, `postgres://user:password@host/database?sslmode=verify-full`, or \
                    `file:/path` of a file that holds one of them.";
        json_schema!({ "type": "string", "description": form })
    }
}

impl Config {
    /// Returns the database file: the store, or the local ledger if the store is PostgreSQL. A relative path lies in
    /// the data directory.
    ///
    /// # Errors
    /// What to write instead; the value itself may hold a password and is not in it.
    pub fn store_path(&self, data_dir: &Path) -> Result<PathBuf, String> {
        if self.store.is_postgres() {
            return Ok(data_dir.join(FILE));
        }
        match self.store.text().strip_prefix(SQLITE) {
            Some(path) if !path.is_empty() => Ok(data_dir.join(path)),
            _ => Err("not a store; write `sqlite://` and a path, like `sqlite://tollgate.db`, or `postgres://` and an \
                      address"
                .to_owned()),
        }
    }

    /// Returns the address of the PostgreSQL that keys and records are kept in, if they are.
    ///
    /// # Errors
    /// As `store_path`.
    pub fn store_postgres(&self) -> Result<Option<Address>, String> {
        self.store.is_postgres().then(|| Address::parse(self.store.text())).transpose()
    }
}
