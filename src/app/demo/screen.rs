//! What the demo shows while it runs: a live screen on a terminal, plain lines otherwise.
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
pub struct SourceLine {
    pub name: String,
    pub detail: String,
    /// How far its history is known; `None` before its first promise.
    pub frontier: Option<Micros>,
    pub held: bool,
}

/// Everything on the screen.
pub struct View {
    pub now: Micros,
    pub elapsed_s: u64,
    pub length_s: Option<u64>,
    pub settled: Option<Micros>,
    pub sources: Vec<SourceLine>,
    pub orders_per_second: f64,
    pub changes: i64,
    pub injected: usize,
    pub found: usize,
    pub false_alarms: usize,
    pub note: String,
    pub seen: Vec<Seen>,
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

    pub fn draw(&mut self, view: &View) -> std::io::Result<()> {
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

const DIM: Style = Style::new().fg(Color::DarkGray);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

fn paint(frame: &mut ratatui::Frame<'_>, view: &View) {
    let areas = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(view.sources.len() as u16 + 3),
        Constraint::Min(5),
        Constraint::Length(1),
    ]);
    let [head, sources, list, foot] = areas.areas(frame.area());
    let length = view.length_s.map_or("∞".to_owned(), |length| format!("{length} s"));
    let title = Line::from(vec![
        Span::styled(" evenkeel demo ", BOLD),
        Span::raw(format!("  {} s of {length}   ", view.elapsed_s)),
        Span::raw(format!("{:.0} orders/s   {} changes judged   ", view.orders_per_second, view.changes)),
        Span::styled(format!("faults injected {}   ", view.injected), Style::new().fg(Color::Yellow)),
        Span::styled(format!("found {}   ", view.found), Style::new().fg(Color::Green)),
        Span::styled(
            format!("false alarms {}", view.false_alarms),
            Style::new().fg(if view.false_alarms == 0 { Color::Green } else { Color::Red }),
        ),
    ]);
    let note = Line::styled(format!(" {}", view.note), DIM);
    frame.render_widget(Paragraph::new(vec![title, note]), head);
    frame.render_widget(source_table(view), sources);
    frame.render_widget(discrepancy_table(view, list.height), list);
    let keys = " q or Ctrl-C ends early: what was injected so far is still waited for";
    frame.render_widget(Paragraph::new(Line::styled(keys, DIM)), foot);
}

fn source_table(view: &View) -> Table<'_> {
    let age = |instant: Option<Micros>| match instant {
        Some(instant) => format!("{:5.1} s ago", (view.now - instant) as f64 / 1e6),
        None => "no promise yet".to_owned(),
    };
    let mut rows: Vec<Row<'_>> = view
        .sources
        .iter()
        .map(|source| {
            let (state, style) = match (source.held, source.frontier) {
                (true, _) => {
                    ("HELD: its feed stands still, so nothing is said about what is missing there", Color::Yellow)
                }
                (false, None) => ("starting", Color::DarkGray),
                (false, Some(_)) => ("flowing", Color::Green),
            };
            Row::new(vec![
                Cell::from(source.name.clone()),
                Cell::from(source.detail.clone()),
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
            Cell::from("verdicts are about history up to here"),
        ])
        .style(BOLD),
    );
    let widths = [
        Constraint::Length(10),
        Constraint::Length(30),
        Constraint::Length(13),
        Constraint::Length(16),
        Constraint::Min(20),
    ];
    Table::new(rows, widths).block(Block::new().borders(Borders::TOP).title(" how far each history is known "))
}

fn discrepancy_table(view: &View, height: u16) -> Table<'_> {
    let header = Row::new(["since", "order", "rule", "age", "amount", "state", "evidence"]).style(DIM);
    let room = usize::from(height.saturating_sub(2));
    let rows = view.seen.iter().rev().take(room).map(|seen| {
        let until = seen.resolved.unwrap_or(view.now);
        let (state, style) = match seen.resolved {
            Some(_) => ("resolved".to_owned(), Style::new().fg(Color::Green)),
            None => (format!("open {}", seen.severity), Style::new().fg(Color::Red)),
        };
        Row::new(vec![
            Cell::from(clock(seen.since)),
            Cell::from(seen.order.clone()),
            Cell::from(seen.rule.clone()),
            Cell::from(format!("{:.0} s", (until - seen.since) as f64 / 1e6)),
            Cell::from(seen.amount.clone()),
            Cell::from(Span::styled(state, style)),
            Cell::from(Span::styled(seen.evidence.clone(), DIM)),
        ])
    });
    let widths = [
        Constraint::Length(13),
        Constraint::Length(7),
        Constraint::Length(22),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(15),
        Constraint::Min(20),
    ];
    Table::new(rows, widths).header(header).block(Block::new().borders(Borders::TOP).title(" discrepancies "))
}

/// A time of day in UTC.
pub fn clock(instant: Micros) -> String {
    let seconds = instant.div_euclid(1_000_000).rem_euclid(86_400);
    let millis = instant.rem_euclid(1_000_000) / 1000;
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A discrepancy's parts in words.
pub struct Shown<'a> {
    pub since: String,
    pub rule: &'a str,
    pub order: &'a str,
    pub evidence: &'a str,
}

pub fn shown(seen: &Seen) -> Shown<'_> {
    Shown { since: clock(seen.since), rule: &seen.rule, order: &seen.order, evidence: &seen.evidence }
}
