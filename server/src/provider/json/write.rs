//! Writes JSON by hand, so that users' schemas keep their order and numbers stay as they were meant.

use std::fmt::Write as _;

/// Writes a string with quotes and escapes.
pub(in crate::provider) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        out.push_str(escape);
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// An object that is being written. Dropping it does not close it: `end` does.
#[derive(Debug)]
pub(in crate::provider) struct Object<'a> {
    out: &'a mut String,
    any: bool,
}

/// A list that is being written.
#[derive(Debug)]
pub(in crate::provider) struct List<'a> {
    out: &'a mut String,
    any: bool,
}

impl<'a> Object<'a> {
    pub(in crate::provider) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, any: false }
    }

    /// Writes a member's name and hands out the place for its value.
    pub(in crate::provider) fn key(&mut self, name: &str) -> &mut String {
        if std::mem::replace(&mut self.any, true) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        self.out
    }

    pub(in crate::provider) fn string(&mut self, name: &str, text: &str) {
        string(self.key(name), text);
    }

    /// Writes a text member unless the text is empty, which in the contract means absent.
    pub(in crate::provider) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.string(name, text);
        }
    }

    /// Writes JSON as it is; it must be valid.
    pub(in crate::provider) fn raw(&mut self, name: &str, json: &str) {
        self.key(name).push_str(json);
    }

    pub(in crate::provider) fn bool(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.raw(name, if value { "true" } else { "false" });
        }
    }

    pub(in crate::provider) fn int(&mut self, name: &str, value: Option<i64>) {
        if let Some(value) = value {
            let _ = write!(self.key(name), "{value}");
        }
    }

    /// Writes a finite number in its shortest form: 0.7 stays 0.7.
    pub(in crate::provider) fn double(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            double(self.key(name), value);
        }
    }

    pub(in crate::provider) fn strings<'b>(
        &mut self,
        name: &str,
        texts: impl IntoIterator<Item = &'b String>,
    ) {
        let mut texts = texts.into_iter().peekable();
        if texts.peek().is_none() {
            return;
        }
        let mut list = self.list(name);
        for text in texts {
            string(list.item(), text);
        }
        list.end();
    }

    pub(in crate::provider) fn object(&mut self, name: &str) -> Object<'_> {
        Object::begin(self.key(name))
    }

    pub(in crate::provider) fn list(&mut self, name: &str) -> List<'_> {
        List::begin(self.key(name))
    }

    pub(in crate::provider) fn end(self) {
        self.out.push('}');
    }
}

impl<'a> List<'a> {
    pub(in crate::provider) fn begin(out: &'a mut String) -> Self {
        out.push('[');
        Self { out, any: false }
    }

    /// Hands out the place for the next item.
    pub(in crate::provider) fn item(&mut self) -> &mut String {
        if std::mem::replace(&mut self.any, true) {
            self.out.push(',');
        }
        self.out
    }

    pub(in crate::provider) fn object(&mut self) -> Object<'_> {
        Object::begin(self.item())
    }

    pub(in crate::provider) fn end(self) {
        self.out.push(']');
    }
}

/// Writes a finite number; JSON has no other.
pub(in crate::provider) fn double(out: &mut String, value: f64) {
    match serde_json::Number::from_f64(value) {
        Some(number) => {
            let _ = write!(out, "{number}");
        }
        None => out.push_str("null"),
    }
}

/// Leaves out the white space between tokens: servers indent what they stream, callers want arguments as models
/// write them.
pub(in crate::provider) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_between_tokens_and_stays_in_strings() {
        assert_eq!(
            compact("{ \"a b\" : [1,\n 2],\t\"c\\\" \\\\\" : \" \" }\r\n"),
            r#"{"a b":[1,2],"c\" \\":" "}"#
        );
    }

    #[test]
    fn strings_survive_a_round_trip() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{0}\u{1f}é\u{7f}\u{2028}"] {
            let mut json = String::new();
            string(&mut json, text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn doubles_keep_their_shortest_form() {
        let mut json = String::new();
        let mut object = Object::begin(&mut json);
        object.double("a", Some(0.7));
        object.double("b", Some(1.0));
        object.double("c", None);
        object.int("d", Some(-3));
        object.end();
        assert_eq!(json, r#"{"a":0.7,"b":1.0,"d":-3}"#);
    }
}
