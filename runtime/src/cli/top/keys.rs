//! What the person at the terminal does.

use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

/// How often the thread that reads keys looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);
/// The keys that wait. Further ones are dropped, as those of a key that is held down.
const WAITING: usize = 64;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    End,
    Pause,
    Help,
    NextList,
    EarlierList,
    /// Move in the list by this number of rows.
    Move(i32),
    /// The terminal has another size.
    Redraw,
}

/// Starts a thread that reads keys until the receiver is dropped. Reading from a terminal blocks, so no thread of the
/// runtime can do it.
pub(super) fn read() -> Result<mpsc::Receiver<Asked>, String> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let read = move || {
        while !sender.is_closed() {
            let event = match event::poll(LOOK) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            // The terminal is gone.
            let Ok(event) = event else { return };
            if let Some(asked) = asked(&event) {
                let _ = sender.try_send(asked);
            }
        }
    };
    let thread = std::thread::Builder::new().name("postback-keys".to_owned()).spawn(read);
    thread.map(|_| receiver).map_err(|error| format!("a thread cannot be started: {error}"))
}

fn asked(event: &Event) -> Option<Asked> {
    match event {
        Event::Resize(..) => Some(Asked::Redraw),
        Event::Key(KeyEvent { kind: KeyEventKind::Release, .. }) => None,
        // A terminal in raw mode sends no signal for Ctrl-C.
        Event::Key(KeyEvent { code: KeyCode::Char('c' | 'd'), modifiers, .. })
            if modifiers.contains(KeyModifiers::CONTROL) =>
        {
            Some(Asked::End)
        }
        Event::Key(key) => Some(match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Asked::End,
            KeyCode::Char('p' | ' ') => Asked::Pause,
            KeyCode::Char('?' | 'h') => Asked::Help,
            KeyCode::Tab | KeyCode::Right => Asked::NextList,
            KeyCode::BackTab | KeyCode::Left => Asked::EarlierList,
            KeyCode::Up | KeyCode::Char('k') => Asked::Move(-1),
            KeyCode::Down | KeyCode::Char('j') => Asked::Move(1),
            KeyCode::PageUp => Asked::Move(-10),
            KeyCode::PageDown => Asked::Move(10),
            KeyCode::Home => Asked::Move(i32::MIN),
            KeyCode::End => Asked::Move(i32::MAX),
            _ => return None,
        }),
        _ => None,
    }
}
