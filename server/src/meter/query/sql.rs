//! SQL with its values: what is asked for is always bound, never spelled out, in the words of one database.

/// A value of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::meter) enum Value {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// In what the databases differ.
pub(in crate::meter) struct Dialect {
    /// Writes the place of the value of this number, from 1 on.
    pub(in crate::meter) place: fn(usize) -> String,
    /// Gives a tag of a record, by a name that is bound. The first is for names that calls may have.
    pub(in crate::meter) tag: [(&'static str, &'static str); 2],
    /// Tells where a text lies in another.
    pub(in crate::meter) position: &'static str,
    /// Start of the calendar month of a time, in UTC; the time stands between.
    pub(in crate::meter) month: (&'static str, &'static str),
    /// What follows a sum, so that it is a number of 64 bits or fails.
    pub(in crate::meter) sum: &'static str,
    /// Keeps an index of `records` from being used.
    pub(in crate::meter) unindexed: &'static str,
}

/// SQLite.
pub(in crate::meter) const SQLITE: Dialect = Dialect {
    place: |_| "?".to_owned(),
    // By key, not by path, where a name could be one: a path gives quotes and dots a meaning.
    tag: [
        ("COALESCE(tags ->> ", ", '')"),
        ("COALESCE((SELECT value FROM json_each(tags) WHERE key = ", " LIMIT 1), '')"),
    ],
    position: "instr",
    month: ("unixepoch(", " / 1000, 'unixepoch', 'start of month') * 1000"),
    sum: "",
    unindexed: "NOT INDEXED",
};

/// A statement that is being written.
pub(in crate::meter) struct Sql {
    /// Its words.
    pub(in crate::meter) text: String,
    /// The values of its places, in order.
    pub(in crate::meter) values: Vec<Value>,
    /// Whose words they are.
    pub(in crate::meter) dialect: &'static Dialect,
}

impl Sql {
    /// Begins a statement.
    pub(in crate::meter) fn new(dialect: &'static Dialect) -> Self {
        Self { text: String::new(), values: Vec::new(), dialect }
    }

    /// Adds words.
    pub(in crate::meter) fn push(&mut self, words: &str) -> &mut Self {
        self.text.push_str(words);
        self
    }

    /// Adds a value.
    pub(in crate::meter) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let place = (self.dialect.place)(self.values.len());
        self.push(&place)
    }

    /// Adds the condition that a column has one of these values, of which there is one at least.
    pub(in crate::meter) fn is_one_of(&mut self, column: &str, values: &[String]) -> &mut Self {
        self.push(column).push(" IN (");
        self.join(values, ", ", |sql, value| _ = sql.bind(&**value)).push(")")
    }

    /// Adds what is written for each item, with these words between them.
    pub(in crate::meter) fn join<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        between: &str,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.push(between);
            }
            write(self, item);
        }
        self
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Int(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

/// Names columns of a row by their place, whichever database it comes from.
pub(in crate::meter) trait Columns {
    /// Why a column cannot be read.
    type Error;

    /// Reads a number.
    fn int(&self, at: usize) -> Result<Option<i64>, Self::Error>;

    /// Reads a text.
    fn text(&self, at: usize) -> Result<Option<String>, Self::Error>;
}

impl Columns for rusqlite::Row<'_> {
    type Error = rusqlite::Error;

    fn int(&self, at: usize) -> Result<Option<i64>, Self::Error> {
        self.get(at)
    }

    fn text(&self, at: usize) -> Result<Option<String>, Self::Error> {
        self.get(at)
    }
}
