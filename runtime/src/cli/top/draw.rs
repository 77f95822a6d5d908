//! Draws the view.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table};

use super::figures::{Figures, Flow};
use super::watch::View;
use postback_wire::time::Spoken;

const HELP: [&str; 7] = [
    "q, Esc, Ctrl-C   end",
    "p, space         pause, and go on",
    "Tab, arrows      choose a list",
    "up, down         move in the list",
    "PgUp, PgDn       move by ten rows",
    "Home, End        to the first, to the last row",
    "?                this help",
];

/// Draws the view. What finds no room is left out from below.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let figures = &view.figures;
    let of_origins = if figures.origins.is_empty() { 2 } else { figures.origins.len().min(5) + 2 };
    let rows = [
        Constraint::Length(1),
        Constraint::Length(u16::from(notice(view).is_some())),
        Constraint::Length(3),
        Constraint::Length(if frame.area().height >= 24 { 3 } else { 0 }),
        Constraint::Min(4),
        Constraint::Length(u16::try_from(of_origins).unwrap_or(7)),
        Constraint::Min(3),
    ];
    let [head, notice_area, summary, curve, of_routes, of_origins, of_failures] =
        Layout::vertical(rows).areas(frame.area());
    frame.render_widget(heading(view), head);
    if let Some(notice) = notice(view) {
        frame.render_widget(notice, notice_area);
    }
    frame.render_widget(Paragraph::new(overview(view)), summary);
    sparkline(frame, view, curve);
    routes(frame, view, of_routes);
    origins(frame, view, of_origins);
    failures(frame, view, of_failures);
    if view.shows_help {
        help(frame);
    }
}

fn style(view: &View, color: Color) -> Style {
    if view.colour { Style::new().fg(color) } else { Style::new() }
}

fn heading(view: &View) -> Paragraph<'_> {
    let Figures { status, version, uptime_seconds, .. } = &view.figures;
    let up = Spoken(Duration::from_secs(*uptime_seconds.max(&1)));
    let color = if status == "ready" && view.away.is_none() { Color::Green } else { Color::Yellow };
    let status = if view.away.is_some() { "away" } else { status };
    let paused = if view.is_paused { "  paused" } else { "" };
    Paragraph::new(Line::from(vec![
        Span::styled(status.to_owned(), style(view, color).add_modifier(Modifier::BOLD)),
        Span::raw(format!("  version {version}  up {up}{paused}  ")),
        Span::styled("q ends  ? help", Style::new().add_modifier(Modifier::DIM)),
    ]))
}

/// A line about what is wrong.
fn notice(view: &View) -> Option<Paragraph<'_>> {
    let text = match (&view.away, &view.figures.trouble) {
        (Some((since, why)), _) => {
            format!("since {}: {why}; trying again", spoken(since.elapsed().as_secs_f64()))
        }
        (None, Some(trouble)) => trouble.clone(),
        (None, None) => return None,
    };
    Some(Paragraph::new(text).style(style(view, Color::Red).add_modifier(Modifier::BOLD)))
}

fn overview(view: &View) -> Vec<Line<'_>> {
    let figures = &view.figures;
    let requests = figures.requests.map_or_else(
        || "rates are not known, because the program has metrics of its own".to_owned(),
        |flow| {
            let took = took(flow.run_seconds, "a run");
            format!(
                "{}/s accepted  {}/s completed  {}/s failed{took}",
                rate(flow.accepted),
                rate(flow.completed),
                rate(flow.failed)
            )
        },
    );
    let queue = format!(
        "{} waiting{}  {} running",
        figures.queued,
        age(figures.oldest_waiting_seconds, figures.queued),
        figures.running
    );
    let deliveries = figures.deliveries.map_or_else(String::new, |attempts| {
        format!(
            "{}/s delivered  {}/s failed{}  ",
            rate(attempts.delivered),
            rate(attempts.failed),
            took(attempts.attempt_seconds, "an attempt")
        )
    });
    let waiting = format!(
        "{} undelivered{}  {} circuits open  {} disabled",
        figures.undelivered,
        age(figures.oldest_due_seconds, figures.undelivered),
        figures.open_circuits,
        figures.disabled
    );
    vec![
        Line::from(format!("requests    {requests}")),
        Line::from(format!("queue       {queue}")),
        Line::from(format!("deliveries  {deliveries}{waiting}")),
    ]
}

fn sparkline(frame: &mut Frame<'_>, view: &View, area: Rect) {
    if area.height == 0 {
        return;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is no negative number")]
    let all: Vec<u64> = view.history.iter().map(|rate| (rate * 10.0).round() as u64).collect();
    let room = usize::from(area.width);
    let data = &all[all.len().saturating_sub(room)..];
    let most = view.history.iter().copied().fold(0.0, f64::max);
    let block = Block::new().title(format!("requests per second, at most {}", rate(most)));
    frame.render_widget(Sparkline::default().data(data).block(block).style(style(view, Color::Cyan)), area);
}

/// Draws one of the lists.
fn list(
    frame: &mut Frame<'_>,
    view: &View,
    (at, name): (usize, &str),
    (head, widths): (&[&str], &[Constraint]),
    rows: Vec<Row<'_>>,
    area: Rect,
) {
    let count = rows.len();
    let title = Style::new().add_modifier(if view.list == at { Modifier::BOLD } else { Modifier::DIM });
    let mark = if view.list == at { "▸ " } else { "  " };
    let top = view.tops[at].min(count.saturating_sub(1));
    let from = if top > 0 { format!(", from {}", top + 1) } else { String::new() };
    let block = Block::new().title(Span::styled(format!("{mark}{name} ({count}{from})"), title));
    let head = Row::new(head.iter().map(|cell| (*cell).to_owned())).style(Style::new().add_modifier(Modifier::DIM));
    let table = Table::new(rows.into_iter().skip(top), widths.iter().copied()).column_spacing(2).block(block);
    frame.render_widget(if count > 0 { table.header(head) } else { table }, area);
}

fn routes(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let figures = &view.figures;
    let rows = figures.routes.iter().map(|route| {
        let flow = |of: fn(&Flow) -> f64| route.requests.as_ref().map_or_else(|| "–".to_owned(), |flow| rate(of(flow)));
        let failed = route.requests.is_some_and(|flow| flow.failed > 0.0);
        let row = Row::new([
            route.route.clone(),
            flow(|flow| flow.accepted),
            flow(|flow| flow.completed),
            flow(|flow| flow.failed),
            route.queued.to_string(),
            route.running.map_or_else(|| "–".to_owned(), |running| format!("{running:.0}")),
            if route.queued > 0 { route.oldest_waiting_seconds.map(spoken).unwrap_or_default() } else { String::new() },
            route.requests.and_then(|flow| flow.run_seconds).map(spoken).unwrap_or_default(),
        ]);
        if failed { row.style(style(view, Color::Red)) } else { row }
    });
    let head = ["route", "in/s", "ok/s", "failed/s", "waiting", "running", "oldest", "a run"];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    list(frame, view, (0, "routes"), (&head, &widths), rows.collect(), area);
}

fn origins(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.figures.origins.iter().map(|origin| {
        let row = Row::new([
            origin.origin.clone(),
            origin.state.clone(),
            format!("{} parked", origin.parked),
            format!("{} held", origin.held),
        ]);
        if origin.state == "closed" { row } else { row.style(style(view, Color::Yellow)) }
    });
    let head = ["origin", "state", "", ""];
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(13), Constraint::Length(10)];
    list(frame, view, (1, "origins that fail, wait or are disabled"), (&head, &widths), rows.collect(), area);
}

fn failures(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.figures.failures.iter().map(|failure| {
        let at = failure.at.get(..19).unwrap_or(&failure.at).replace('T', " ");
        Row::new([at, failure.kind.to_owned(), failure.id.clone(), failure.of.clone(), failure.why.clone()])
    });
    let head = ["at", "what", "id", "route or URL", "why"];
    let widths =
        [Constraint::Length(19), Constraint::Length(8), Constraint::Max(36), Constraint::Fill(1), Constraint::Fill(1)];
    list(frame, view, (2, "failed requests and dead deliveries"), (&head, &widths), rows.collect(), area);
}

fn help(frame: &mut Frame<'_>) {
    let (width, height) = (50, u16::try_from(HELP.len()).unwrap_or(7) + 2);
    let area = frame.area();
    let (width, height) = (width.min(area.width), height.min(area.height));
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let lines: Vec<_> = HELP.iter().map(|line| Line::from(*line)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("keys")), place);
}

fn rate(rate: f64) -> String {
    if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

fn spoken(seconds: f64) -> String {
    Spoken(Duration::try_from_secs_f64(seconds).unwrap_or_default()).to_string()
}

fn took(seconds: Option<f64>, what: &str) -> String {
    seconds.map(|seconds| format!("  {} {what}", spoken(seconds))).unwrap_or_default()
}

/// The age of the oldest of some rows.
fn age(seconds: Option<f64>, rows: u64) -> String {
    let seconds = seconds.filter(|seconds| rows > 0 && *seconds > 0.0);
    seconds.map(|seconds| format!(" (oldest {})", spoken(seconds))).unwrap_or_default()
}
