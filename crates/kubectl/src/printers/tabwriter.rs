//! Columns as Go's `text/tabwriter` lays them out with kubectl's settings.
//!
//! A cell is as wide as the widest of its column in the lines around it that have the column, plus
//! [`PADDING`], and [`MIN_WIDTH`] at least. The last cell of a line belongs to no column.

const MIN_WIDTH: usize = 6;
const PADDING: usize = 3;

/// Lines of cells, and the text they make.
#[derive(Debug, Default)]
pub struct TabWriter {
    lines: Vec<Vec<String>>,
    /// Widths of earlier blocks: a watch goes on in the same columns.
    remembered: Vec<usize>,
    remembers: bool,
    min_width: usize,
    padding: usize,
}

impl TabWriter {
    /// With the settings of `kubectl get`.
    pub fn new() -> Self {
        TabWriter { remembers: true, min_width: MIN_WIDTH, padding: PADDING, ..TabWriter::default() }
    }

    /// With the settings of `kubectl describe`: two blanks between columns, each block by itself.
    pub fn describing() -> Self {
        TabWriter { min_width: 0, padding: 2, ..TabWriter::default() }
    }

    /// Add a line; cells are separated by tabs.
    pub fn line(&mut self, text: &str) {
        self.lines.push(text.split('\t').map(str::to_owned).collect());
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.lines.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text of all lines so far; later lines keep these widths at least.
    pub fn take(&mut self) -> String {
        let lines = std::mem::take(&mut self.lines);
        let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len().saturating_sub(1)]).collect();
        let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
        for column in 0..columns {
            let mut start = 0;
            while start < lines.len() {
                if widths.get(start).is_none_or(|w| w.len() <= column) {
                    start += 1;
                    continue;
                }
                let end = (start..lines.len()).find(|&i| widths[i].len() <= column).unwrap_or(lines.len());
                let widest = lines[start..end].iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
                let remembered = self.remembered.get(column).copied().unwrap_or(0);
                let width = (widest + self.padding).max(self.min_width).max(remembered);
                widths[start..end].iter_mut().for_each(|w| w[column] = width);
                if self.remembers {
                    self.remembered.resize(self.remembered.len().max(column + 1), 0);
                    self.remembered[column] = width;
                }
                start = end;
            }
        }
        let mut out = String::new();
        for (cells, widths) in lines.iter().zip(&widths) {
            for (i, cell) in cells.iter().enumerate() {
                out.push_str(cell);
                if let Some(width) = widths.get(i) {
                    out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut writer = TabWriter::new();
        writer.line("NAME\tREADY\tAGE");
        writer.line("a-long-name\t1/1\t5s");
        assert_eq!(writer.take(), "NAME          READY   AGE\na-long-name   1/1     5s\n");
        writer.line("b\t1/1\t6s");
        assert_eq!(writer.take(), "b             1/1     6s\n", "widths are remembered");
    }
}
