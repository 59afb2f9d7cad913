//! Members that are told to stop one shortly after the other, so that partitions move to members that stop, too: each
//! ends in order, and soon.

use std::path::Path;
use std::time::Duration;

use super::kafka;
use super::restart::TOPICS;
use crate::real::binary::{Binary, Shipped};
use crate::real::{Broker, Result, wait_until};

const MEMBERS: usize = 3;

const ROUNDS: usize = 14;

/// Long enough for a member to start, and to end.
const LIMIT: Duration = Duration::from_secs(30);

fn members(broker: &Broker, folder: &Path) -> Result<Vec<Binary>> {
    let shipped = Shipped::with_own_topics("evenkeel.yaml", "stops")?
        .with_kafka(&kafka())
        .replace("partitions: 2,", "partitions: 6,");
    let all = 0..MEMBERS;
    all.map(|member| shipped.binary_at(&broker.bootstrap(), &folder.join(member.to_string()))).collect()
}

/// Starts it as a supervisor does: just after topics were made a member may end.
fn start(member: &Binary) -> Result {
    wait_until("a member to be ready", LIMIT, || {
        member.ended()?;
        if member.is_idle() {
            member.launch()?;
        }
        Ok(member.is_ready().then_some(()))
    })
}

fn stops() -> Result {
    let broker = Broker::start()?;
    crate::real::create_topics(&broker.bootstrap(), &TOPICS.map(|(topic, count)| (topic.to_owned(), count)))?;
    let folder = tempfile::tempdir()?;
    let members = members(&broker, folder.path())?;
    for round in 0..ROUNDS {
        members.iter().try_for_each(start)?;
        for member in &members {
            member.signal("TERM")?;
            // Its partitions are on their way to the next one, which is told to stop a moment later.
            std::thread::park_timeout(Duration::from_millis(60 * round as u64));
        }
        members.iter().try_for_each(Binary::end)?;
    }
    Ok(())
}

#[test]
#[ignore = "minutes: make chaos"]
fn full_chaos_members_that_stop_together_end_in_order() {
    stops().expect("they end");
}
