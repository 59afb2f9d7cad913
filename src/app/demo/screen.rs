//! What the demo shows on a terminal while it runs.
//!
//! Must not know: Kafka. Draws what it is given.

use std::io::Stdout;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::judge::Seen;
use super::world::Micros;

/// One source's line.
pub struct SourceLine<'v> {
    pub name: &'v str,
    pub detail: &'v str,
    /// How far its history is known; `None` before its first promise.
    pub frontier: Option<Micros>,
    pub held: bool,
}

/// Everything on the screen.
pub struct View<'v> {
    pub now: Micros,
    pub elapsed_s: u64,
    pub length_s: Option<u64>,
    pub settled: Option<Micros>,
    pub sources: Vec<SourceLine<'v>>,
    /// Events that both connectors have written to Kafka, measured.
    pub written_per_second: f64,
    /// Changes that reconcile has read back from the changes log, measured.
    pub read_per_second: f64,
    pub changes: i64,
    pub injected: usize,
    pub found: usize,
    pub false_alarms: usize,
    pub note: &'v str,
    pub is_asked_to_end: bool,
    pub seen: &'v [Seen],
}

/// A terminal in full-screen mode; leaves it as it was.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub fn open() -> std::io::Result<Screen> {
        enable_raw_mode()?;
        execute!(std::io::stdout(), EnterAlternateScreen)?;
        Ok(Screen { terminal: Terminal::new(CrosstermBackend::new(std::io::stdout()))? })
    }

    pub fn draw(&mut self, view: &View<'_>) -> std::io::Result<()> {
        self.terminal.draw(|frame| paint(frame, view))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing better can be done for a terminal that refuses.
        let _ = disable_raw_mode();
        let _ = execute!(std::io::stdout(), LeaveAlternateScreen);
        let _ = self.terminal.show_cursor();
    }
}

/// Promises come every second, and take one or two to become known. Microseconds.
const SILENT: Micros = 4_000_000;

const DIM: Style = Style::new().fg(Color::DarkGray);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

fn paint(frame: &mut ratatui::Frame<'_>, view: &View<'_>) {
    let areas = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(view.sources.len() as u16 + 3),
        Constraint::Min(5),
        Constraint::Length(1),
    ]);
    let [head, sources, list, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(title(view)), head);
    frame.render_widget(source_table(view), sources);
    frame.render_widget(discrepancy_table(view, list.height), list);
    let keys = match view.is_asked_to_end {
        false => " q or Ctrl-C ends early: what was injected so far is still waited for",
        true => " ending: what was injected so far is still waited for; q or Ctrl-C ends at once",
    };
    frame.render_widget(Paragraph::new(Line::styled(keys, DIM)), foot);
}

/// How fast, how many, and what goes on.
fn title<'v>(view: &View<'v>) -> Vec<Line<'v>> {
    let length = view.length_s.map_or("∞ s".to_owned(), |length| format!("{length} s"));
    let (written, read) = (view.written_per_second, view.read_per_second);
    let pace = format!("{written:.0} events/s written, {read:.0} changes/s read, {} in all", view.changes);
    let alarms = Style::new().fg(if view.false_alarms == 0 { Color::Green } else { Color::Red });
    vec![
        Line::from(vec![
            Span::styled(" evenkeel demo", BOLD),
            Span::raw(format!("  {}/{length}  {pace}", view.elapsed_s)),
        ]),
        Line::from(vec![
            Span::styled(format!(" faults injected {}   ", view.injected), Style::new().fg(Color::Yellow)),
            Span::styled(format!("found {}   ", view.found), Style::new().fg(Color::Green)),
            Span::raw(format!("not due yet, or held {}   ", view.injected - view.found)),
            Span::styled(format!("false alarms {}", view.false_alarms), alarms),
        ]),
        Line::styled(format!(" {}", view.note), DIM),
    ]
}

fn source_table<'v>(view: &View<'v>) -> Table<'v> {
    let age = |instant: Option<Micros>| match instant {
        Some(instant) => format!("{:5.1} s ago", (view.now - instant) as f64 / 1e6),
        None => "not yet".to_owned(),
    };
    let mut rows: Vec<Row<'_>> = view
        .sources
        .iter()
        .map(|source| {
            let (state, style) = match (source.held, source.frontier) {
                (true, _) => ("HELD: its feed stands still", Color::Yellow),
                (false, None) => ("starting", Color::DarkGray),
                (false, Some(frontier)) if view.now - frontier > SILENT => ("silent", Color::Yellow),
                (false, Some(_)) => ("flowing", Color::Green),
            };
            Row::new(vec![
                Cell::from(source.name),
                Cell::from(source.detail),
                Cell::from(source.frontier.map_or("-".to_owned(), clock)),
                Cell::from(age(source.frontier)),
                Cell::from(Span::styled(state, Style::new().fg(style))),
            ])
        })
        .collect();
    rows.push(
        Row::new(vec![
            Cell::from("settled"),
            Cell::from("the least of them"),
            Cell::from(view.settled.map_or("-".to_owned(), clock)),
            Cell::from(age(view.settled)),
            Cell::from("verdicts reach up to here"),
        ])
        .style(BOLD),
    );
    let widths = [
        Constraint::Length(9),
        Constraint::Length(25),
        Constraint::Length(13),
        Constraint::Length(12),
        // What does not fit is cut off here.
        Constraint::Fill(1),
    ];
    Table::new(rows, widths).block(Block::new().borders(Borders::TOP).title(" how far each history is known "))
}

fn discrepancy_table<'v>(view: &View<'v>, height: u16) -> Table<'v> {
    let header = Row::new(["since", "order", "rule", "age", "  amount", "state", "evidence"]).style(DIM);
    let room = usize::from(height.saturating_sub(2));
    let rows = view.seen.iter().rev().take(room).map(|seen| {
        let until = seen.resolved.unwrap_or(view.now);
        let (state, style) = match seen.resolved {
            Some(_) => ("resolved".to_owned(), Style::new().fg(Color::Green)),
            None => (format!("open {}", seen.severity), Style::new().fg(Color::Red)),
        };
        Row::new(vec![
            Cell::from(clock(seen.since).split('.').next().unwrap_or_default().to_owned()),
            Cell::from(seen.order.as_str()),
            Cell::from(seen.rule.as_str()),
            Cell::from(format!("{:.0} s", (until - seen.since) as f64 / 1e6)),
            Cell::from(format!("{:>8}", seen.amount)),
            Cell::from(Span::styled(state, style)),
            Cell::from(Span::styled(seen.evidence.as_str(), DIM)),
        ])
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(22),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(13),
        Constraint::Fill(1),
    ];
    Table::new(rows, widths).header(header).block(Block::new().borders(Borders::TOP).title(" discrepancies "))
}

/// A time of day in UTC.
pub fn clock(instant: Micros) -> String {
    let seconds = instant.div_euclid(1_000_000).rem_euclid(86_400);
    let millis = instant.rem_euclid(1_000_000) / 1000;
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
