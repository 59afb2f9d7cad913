//! What goes wrong on purpose: an order whose two sides disagree, how it heals, and what must be said of it.
//!
//! Must not know: the product, when a step is taken.

use std::time::Duration;

use crate::support::dice::Dice;

/// Statements for the two databases.
#[derive(Clone, Debug, Default)]
pub struct Sql {
    pub shop: String,
    pub pay: String,
}

impl Sql {
    fn shop(text: String) -> Sql {
        Sql { shop: text, pay: String::new() }
    }

    fn pay(text: String) -> Sql {
        Sql { shop: String::new(), pay: text }
    }

    pub fn and(&mut self, other: &Sql) {
        self.shop.push_str(&other.shop);
        self.pay.push_str(&other.pay);
    }
}

/// How the sides disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Missing,
    Short,
    Double,
    Orphan,
    Unmatched,
    Stuck,
}

impl Kind {
    pub const ALL: [Kind; 6] = [Kind::Missing, Kind::Short, Kind::Double, Kind::Orphan, Kind::Unmatched, Kind::Stuck];

    pub fn rules(self) -> &'static [&'static str] {
        match self {
            Kind::Missing => &["paid-without-payment"],
            Kind::Short => &["captured-amount"],
            Kind::Double => &["captured-amount", "duplicate-capture"],
            Kind::Orphan => &["payment-without-order"],
            Kind::Unmatched => &["status-matrix"],
            Kind::Stuck => &["stuck-pending"],
        }
    }

    pub fn grace(self) -> Duration {
        if self == Kind::Stuck { STUCK_GRACE } else { GRACE }
    }
}

/// The grace of all rules but one.
pub const GRACE: Duration = Duration::from_secs(6);

/// Healthy orders are pending, too, for a while.
pub const STUCK_GRACE: Duration = Duration::from_secs(15);

/// How far an act's time on the timeline may lie from the time at which it was taken: MariaDB's statements are stamped
/// with whole seconds. What lasts for less than a grace less this is never said, for more than both is always.
pub const DOUBT: Duration = Duration::from_secs(2);

/// What becomes of a disagreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It heals within its grace: nothing may be said of it.
    Brief,
    Lasting,
    Healed,
    /// Its evidence changes while it is open; then it heals.
    Changed,
    /// It heals and comes back.
    Returning,
}

/// What is done to a wrong order, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Begin,
    Change,
    Heal,
    Return,
}

impl Fate {
    pub fn acts(self) -> &'static [Act] {
        match self {
            Fate::Lasting => &[Act::Begin],
            Fate::Brief | Fate::Healed => &[Act::Begin, Act::Heal],
            Fate::Changed => &[Act::Begin, Act::Change, Act::Heal],
            Fate::Returning => &[Act::Begin, Act::Heal, Act::Return],
        }
    }

    /// What must be said of it for each of its rules, in this order and nothing else.
    pub fn said(self) -> &'static [&'static str] {
        match self {
            Fate::Brief => &[],
            Fate::Lasting => &["opened"],
            Fate::Healed => &["opened", "resolved"],
            Fate::Changed => &["opened", "updated", "resolved"],
            Fate::Returning => &["opened", "resolved", "opened"],
        }
    }
}

/// An order that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    pub order: i64,
    pub kind: Kind,
    pub fate: Fate,
}

impl Wrong {
    pub fn roll(dice: &mut Dice, order: i64) -> Wrong {
        let kind = dice.pick(&Kind::ALL);
        let fate = match dice.below(10) {
            0 => Fate::Brief,
            1..4 => Fate::Lasting,
            4 | 5 => Fate::Returning,
            6 | 7 if kind == Kind::Missing => Fate::Changed,
            _ => Fate::Healed,
        };
        Wrong { order, kind, fate }
    }

    /// How long after the act before it an act is due, at the earliest.
    pub fn pause(self, act: Act) -> Duration {
        match act {
            Act::Heal if self.fate == Fate::Brief => Duration::from_millis(500),
            Act::Change | Act::Heal if self.fate != Fate::Changed || act == Act::Change => {
                self.kind.grace() + 2 * DOUBT
            }
            _ => 2 * DOUBT,
        }
    }

    pub fn sql(self, act: Act) -> Sql {
        match act {
            Act::Begin => self.begin(),
            Act::Change => {
                Sql::shop(format!("update shop.orders set total = total + 1 where order_id = {};", self.order))
            }
            Act::Heal => self.heal(),
            Act::Return => self.come_back(),
        }
    }

    fn begin(self) -> Sql {
        let place = |status| placed(self.order, status);
        let capture = |number, status, amount| self.capture(number, status, amount);
        match self.kind {
            Kind::Missing => Sql::shop(place("PAID")),
            Kind::Short => Sql { shop: place("PAID"), pay: capture(0, "CAPTURED", 9) },
            Kind::Double => Sql {
                shop: place("PAID"),
                pay: format!("{}{}", capture(0, "CAPTURED", 10), capture(1, "CAPTURED", 10)),
            },
            Kind::Orphan => Sql::pay(capture(0, "CAPTURED", 10)),
            Kind::Unmatched => Sql { shop: place("CANCELLED"), pay: capture(0, "PENDING", 10) },
            Kind::Stuck => Sql::shop(place("PENDING")),
        }
    }

    fn heal(self) -> Sql {
        match self.kind {
            Kind::Missing => Sql::pay(self.capture(0, "CAPTURED", if self.fate == Fate::Changed { 11 } else { 10 })),
            Kind::Short => Sql::pay(self.capture(1, "CAPTURED", 1)),
            Kind::Double => Sql::pay(self.set_payment(1, "REFUNDED")),
            Kind::Orphan => Sql::shop(placed(self.order, "PAID")),
            Kind::Unmatched => Sql::pay(self.set_payment(0, "FAILED")),
            Kind::Stuck => Sql::shop(self.set_order("CANCELLED")),
        }
    }

    fn come_back(self) -> Sql {
        match self.kind {
            Kind::Missing => Sql::pay(self.drop_payment(0)),
            Kind::Short => Sql::pay(self.drop_payment(1)),
            Kind::Double => Sql::pay(self.set_payment(1, "CAPTURED")),
            Kind::Orphan => Sql::shop(format!("delete from shop.orders where order_id = {};", self.order)),
            Kind::Unmatched => Sql::pay(self.set_payment(0, "PENDING")),
            Kind::Stuck => Sql::shop(self.set_order("PENDING")),
        }
    }

    fn capture(self, number: i64, status: &str, amount: i64) -> String {
        let (id, order) = (self.payment(number), self.order);
        format!(
            "insert into pay.payments (id, order_id, kind, status, amount) values ({id}, {order}, 'CAPTURE', '{status}', {amount});"
        )
    }

    fn set_payment(self, number: i64, status: &str) -> String {
        format!("update pay.payments set status = '{status}' where id = {};", self.payment(number))
    }

    fn drop_payment(self, number: i64) -> String {
        format!("delete from pay.payments where id = {};", self.payment(number))
    }

    fn set_order(self, status: &str) -> String {
        format!("update shop.orders set payment_status = '{status}' where order_id = {};", self.order)
    }

    fn payment(self, number: i64) -> i64 {
        10 * self.order + number
    }
}

fn placed(order: i64, status: &str) -> String {
    format!(
        "insert into shop.orders (order_id, customer_id, payment_status, total) values ({order}, 1, '{status}', 10);"
    )
}
