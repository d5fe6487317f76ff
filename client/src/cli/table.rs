//! Tables for people: columns as wide as their widest cell, numbers to the right.

/// A table that is being filled.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// The head of a column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    name: String,
    right: bool,
}

impl Column {
    /// A column of words.
    pub(crate) fn left(name: impl Into<String>) -> Self {
        Self { name: name.into(), right: false }
    }

    /// A column of numbers.
    pub(crate) fn right(name: impl Into<String>) -> Self {
        Self { name: name.into(), right: true }
    }
}

impl Table {
    /// Makes an empty table.
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// Returns the lines, the head first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let head: Vec<String> = self.columns.iter().map(|column| column.name.to_uppercase()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = std::iter::once(&head).chain(&self.rows).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        std::iter::once(&head).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(&self.columns).zip(widths).map(|((cell, column), &width)| {
            if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// A cell is one line, whatever a name holds.
fn clean(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table = Table::new([Column::left("model"), Column::right("input"), Column::left("end")]);
        table.row(["größe".into(), "7".into(), "x".into()]);
        table.row(["m".into(), "1,234".into(), String::new()]);
        assert_eq!(table.lines(), ["MODEL  INPUT  END", "größe      7  x", "m      1,234  -"]);
    }

    #[test]
    fn a_cell_stays_on_its_line() {
        let mut table = Table::new([Column::left("name")]);
        table.row(["a\n\x1b[2Jb".into()]);
        assert_eq!(table.lines()[1], "a\u{fffd}\u{fffd}[2Jb");
    }
}
