//! Writes lists in columns. On a terminal, the lines fit its width: what is too long is cut off, and `…` stands for it.
//! Otherwise nothing is cut off, because a program reads the lines.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The narrowest column that is still readable.
const NARROW: usize = 8;
/// The space between two columns.
const GAP: &str = "  ";

/// A list. The first column is never cut off while another can be, because it has the ids.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// The column that is coloured by its words.
    status: Option<usize>,
}

impl Table {
    /// Makes a table whose column `status` has the states of rows.
    pub(super) fn with_status(status: usize) -> Self {
        Self { rows: Vec::new(), status: Some(status) }
    }

    /// Adds a row. Cells at its end may be left out.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Returns the lines, for the terminal if standard output is one.
    pub(super) fn text(&self) -> String {
        self.text_within(terminal_width())
    }

    fn text_within(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut gap = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let (cell, used) = cut(cell, *width);
                if used > 0 {
                    let style = self.status.filter(|status| *status == at).map_or_else(Style::new, |_| style_of(&cell));
                    line.push_str(&gap);
                    gap.clear();
                    // The result is ignored, because writing to a `String` cannot fail.
                    let _ = write!(line, "{style}{cell}{style:#}");
                }
                gap.push_str(&" ".repeat(width - used.min(*width)));
                gap.push_str(GAP);
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Returns the widths of the columns, so that a line has at most `most` columns of the terminal if that is possible.
    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
        let mut widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        let Some(most) = most else { return widths };
        let gaps = GAP.len() * columns.saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(most);
        while over > 0 {
            // The widest column gives way, the last one first.
            let others = widths.iter().enumerate().skip(1).filter(|(_, width)| **width > NARROW);
            let Some(widest) = others.max_by_key(|(_, width)| **width).map(|(at, _)| at) else { break };
            widths[widest] -= 1;
            over -= 1;
        }
        // In a very narrow terminal, columns are left out from the end, and then the ids are cut off.
        for at in (0..columns).rev() {
            let gone = over.min(widths[at].saturating_sub(usize::from(at == 0)));
            widths[at] -= gone;
            over -= gone;
        }
        widths
    }
}

/// Cuts a text off after `width` columns of the terminal. Returns the text and its width.
fn cut(text: &str, width: usize) -> (String, usize) {
    if text.width() <= width {
        return (text.to_owned(), text.width());
    }
    let (mut cut, mut used) = (String::new(), 0);
    for c in text.chars() {
        let more = c.width().unwrap_or(0);
        if used + more + 1 > width {
            break;
        }
        cut.push(c);
        used += more;
    }
    if width > 0 {
        cut.push('…');
        used += 1;
    }
    (cut, used)
}

/// Returns the colour of a state, which is the first word of the cell.
fn style_of(cell: &str) -> Style {
    let color = match cell.split([' ', ',']).next().unwrap_or_default() {
        "completed" | "delivered" => AnsiColor::Green,
        "failed" | "dead" | "refused" | "gone" => AnsiColor::Red,
        "in_progress" | "delivering" => AnsiColor::Cyan,
        "parked" | "held" => AnsiColor::Yellow,
        _ => return Style::new(),
    };
    color.on_default()
}

/// Returns the width of the terminal. `None`: standard output is no terminal.
#[cfg(unix)]
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

#[cfg(not(unix))]
fn terminal_width() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let mut table = Table::default();
        for row in rows {
            table.row(row.iter().map(|cell| (*cell).to_owned()).collect());
        }
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_off_without_a_terminal() {
        let long = "x".repeat(300);
        let text = table(&[&["1", "ab", &long], &["22", "", "c"], &["3", "b"]]).text_within(None);
        assert_eq!(text, format!("1   ab  {long}\n22      c\n3   b\n"));
        assert_eq!(Table::default().text_within(None), "");
    }

    #[test]
    fn lines_fit_the_terminal_and_ids_stay_whole() {
        let id = "0193a4c2-7b1e-7c3a-9c1d-0123456789ab";
        let (route, wide) = ("r".repeat(60), "日本語".repeat(20));
        let rows: [&[&str]; 2] = [&[id, &route, "completed", &wide], &[id, "/a", "failed", ""]];
        for width in [200, 100, 80, 64] {
            let text = table(&rows).text_within(Some(width));
            assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
            assert!(text.lines().all(|line| line.starts_with(id)), "{width}: {text}");
        }
        assert!(table(&rows).text_within(Some(100)).contains('…'));
        for width in [1, 2, 10, 40] {
            let text = table(&rows).text_within(Some(width));
            assert!(text.lines().all(|line| line.width() <= width.max(1)), "{width}: {text}");
        }
    }
}
