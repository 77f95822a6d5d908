//! The terminal while the live view is shown. It is as before afterwards, whatever ends the view.

use std::io::{IsTerminal as _, Stdout, stdin, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

/// Whether the terminal has to be set back.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// The terminal, with the view on it.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal over. Fails if there is none.
    pub(super) fn open() -> Result<Self, String> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return Err("the live view needs a terminal; in a script, use `top --json`".to_owned());
        }
        // The text of a panic must not vanish with the view.
        let of_program = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            set_back();
            of_program(panic);
        }));
        let opened = enable_raw_mode().and_then(|()| {
            IS_OPEN.store(true, Ordering::SeqCst);
            execute!(stdout(), EnterAlternateScreen)?;
            Terminal::new(CrosstermBackend::new(stdout()))
        });
        opened.map(Self).map_err(|error| {
            set_back();
            failed(&error)
        })
    }

    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> Result<(), String> {
        self.0.draw(view).map(|_| ()).map_err(|error| failed(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        set_back();
    }
}

fn failed(error: &std::io::Error) -> String {
    format!("the terminal cannot be used: {error}")
}

fn set_back() {
    if IS_OPEN.swap(false, Ordering::SeqCst) {
        // Errors are ignored: if the terminal is gone, nothing has to be set back.
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
