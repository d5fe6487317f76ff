//! Files as rows of named texts: CSV, and JSON in pages, buckets or lines.

use std::collections::BTreeMap;

use serde_json::Value;

/// One row: the names of its columns, or the way to a member with dots between, in lower case.
pub(super) type Row = BTreeMap<String, String>;

/// What a file is expected to be.
pub(super) const EXPECTED: &str =
    "an export is JSON of the provider's usage or cost API, as it was answered, or CSV of its console";

/// What a page says of itself.
const PAGING: [&str; 2] = ["has_more", "next_page"];

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Whether the last page says that there is another.
    pub(super) goes_on: bool,
}

/// Reads a file.
pub(super) fn read(text: &str) -> Result<Table, String> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with(['{', '[']) { read_json(text) } else { read_csv(text) }
}

fn read_json(text: &str) -> Result<Table, String> {
    let mut table = Table::default();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| format!("is no JSON: {error}; {EXPECTED}"))?;
        collect(&value, &Row::new(), &mut table);
    }
    Ok(table)
}

/// Goes down pages and buckets to their results. What a bucket says of itself, each of its results has too.
fn collect(value: &Value, around: &Row, table: &mut Table) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect(item, around, table)),
        Value::Object(members) => {
            if let Some(goes_on) = members.get("has_more").and_then(Value::as_bool) {
                table.goes_on = goes_on;
            }
            let mut row = around.clone();
            let inner =
                ["data", "results", "result"].into_iter().find_map(|name| members.get_key_value(name));
            for (name, member) in members {
                if inner.is_none_or(|(inner, _)| inner != name) && !PAGING.contains(&&**name) {
                    flatten(name, member, &mut row);
                }
            }
            match inner {
                Some((_, results)) => collect(results, &row, table),
                None => table.rows.push(row),
            }
        }
        _ => {}
    }
}

fn flatten(name: &str, value: &Value, row: &mut Row) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(member, value)| flatten(&format!("{name}.{member}"), value, row));
        }
        Value::Null => {}
        Value::String(text) => _ = row.insert(name.to_lowercase(), text.clone()),
        other => _ = row.insert(name.to_lowercase(), other.to_string()),
    }
}

fn read_csv(text: &str) -> Result<Table, String> {
    let mut lines = records(text).into_iter();
    let names = lines.next().ok_or_else(|| format!("is empty; {EXPECTED}"))?;
    let names: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    let row = |cells: Vec<String>| {
        let named = names.iter().cloned().zip(cells.into_iter().map(|cell| cell.trim().to_owned()));
        named.filter(|(_, cell)| !cell.is_empty()).collect::<Row>()
    };
    let rows = lines.map(row).filter(|row| !row.is_empty()).collect();
    Ok(Table { rows, goes_on: false })
}

/// Splits CSV into records of cells (RFC 4180).
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut cell));
                records.push(std::mem::take(&mut record));
            }
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> Row {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn csv_with_quotes_and_any_line_ends_is_read() {
        let text = "\u{feff}Day,model\r\n2026-07-01,\"a \"\"b\"\", c\"\n\n2026-07-02,x";
        let table = read(text).unwrap();
        let expected = [
            row(&[("day", "2026-07-01"), ("model", "a \"b\", c")]),
            row(&[("day", "2026-07-02"), ("model", "x")]),
        ];
        assert_eq!(table.rows, expected);
    }

    #[test]
    fn pages_buckets_and_lines_of_json_become_rows() {
        let page = r#"{"data":[{"start_time":1,"results":[{"model":"m","amount":{"value":0.5}}]},{"start_time":2,"results":[]}],"has_more":true}"#;
        let expected = [row(&[("start_time", "1"), ("model", "m"), ("amount.value", "0.5")])];
        for text in [page.to_owned(), format!("[{page}]"), format!("\n{page}\n")] {
            let table = read(&text).unwrap();
            assert_eq!((&table.rows[..], table.goes_on), (&expected[..], true));
        }
        assert_eq!(read(&format!("{page}\n{page}")).unwrap().rows.len(), 2);
        let told = read("{\"data\":").unwrap_err();
        assert!(told.contains("is no JSON") && told.contains("line 1") && told.contains(EXPECTED), "{told}");
    }
}
