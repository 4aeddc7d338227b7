//! Every kind of topic × every kind of identity × publishing and subscribing, against a table. A topic without a row
//! fails the test.

use std::collections::BTreeMap;

use contract::access::{Identity, Reach, Role};
use contract::topic::{ROOT, covers};
use contract::{DeviceId, RelayId, Topic};

/// One row a kind of topic. Columns: `admin`, `operator`, `operator` of a group with the relay, `operator` of another
/// group, `viewer`, `viewer` of another group, `cloud`, the relay itself, another relay. `p`: may publish, `s`: may
/// subscribe.
const TABLE: &str = "
    Presence       s   s   s   -   s   -   s   p   -
    State          s   s   s   -   s   -   s   p   -
    Commands       ps  ps  ps  -   s   -   ps  s   -
    Events         s   s   s   -   s   -   s   p   -
    Requests       s   -   -   -   -   -   s   p   -
    Responses      s   -   -   -   -   -   ps  s   -
    Sync           ps  -   -   -   -   -   ps  s   -
    Telemetry      s   s   s   -   s   -   s   p   -
    Logs           s   s   s   -   s   -   s   p   -
    CloudCommands  ps  ps  ps  ps  s   s   s   -   -
    CloudEvents    s   s   s   s   s   s   ps  -   -
    BrokerAudit    s   -   -   -   -   -   s   -   -
    Health         ps  -   -   -   -   -   ps  -   -
";

fn id(name: &str) -> RelayId {
    RelayId::new(name).unwrap()
}

fn only(relay: &str) -> Reach {
    Reach::Only([id(relay)].into())
}

/// All have the same name, so that their `health` topic is their own.
fn identities() -> Vec<Identity> {
    let identity = |role, reach| Identity { name: "somebody".into(), role, reach };
    vec![
        identity(Role::Admin, Reach::All),
        identity(Role::Operator, Reach::All),
        identity(Role::Operator, only("bench")),
        identity(Role::Operator, only("other")),
        identity(Role::Viewer, Reach::All),
        identity(Role::Viewer, only("other")),
        identity(Role::Cloud, Reach::All),
        identity(Role::Relay(id("bench")), Reach::All),
        identity(Role::Relay(id("other")), Reach::All),
    ]
}

#[test]
fn every_identity_on_every_topic() {
    let rows: BTreeMap<&str, Vec<&str>> = TABLE
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.collect()))
        })
        .collect();
    let topics = Topic::every(&id("bench"), &DeviceId::new("board").unwrap(), "somebody");
    let (mut tried, mut refused) = (0, 0);
    for topic in &topics {
        let row = rows.get(topic.kind()).unwrap_or_else(|| panic!("TABLE has no row for {}", topic.kind()));
        let identities = identities();
        assert_eq!(row.len(), identities.len(), "{}", topic.kind());
        for (identity, cell) in identities.iter().zip(row) {
            let text = topic.to_string();
            let asked = [
                ("publish", identity.allows_publish(&text), cell.contains('p')),
                ("subscribe", identity.allows_subscribe(&text), cell.contains('s')),
            ];
            for (what, is, expected) in asked {
                assert_eq!(is, expected, "{} {what} {text}: {:?}", identity.role.as_str(), identity.reach);
                tried += 1;
                refused += usize::from(!is);
            }
        }
    }
    assert_eq!(rows.len(), topics.len(), "TABLE has a row that is no topic");
    println!("{tried} tried, {refused} refused");
}

/// The filter with a wildcard for everything that is a parameter.
fn widened(topic: &Topic) -> String {
    topic.to_string().replace("/bench/", "/+/").replace("/board/", "/+/").replace("/somebody", "/+")
}

#[test]
fn wildcards_widen_nothing() {
    let topics = Topic::every(&id("bench"), &DeviceId::new("board").unwrap(), "somebody");
    for identity in identities() {
        let all = matches!(identity.role, Role::Admin | Role::Cloud);
        let relay = matches!(identity.role, Role::Relay(_));
        for filter in ["#", "+/#", "$SYS/#", "tinymlaas/#", "tinymlaas/+/#", "tinymlaas/v2/#", "", "+", "/"] {
            assert!(!identity.allows_subscribe(filter), "{} {filter}", identity.role.as_str());
        }
        for filter in [format!("{ROOT}/#"), format!("{ROOT}/relays/bench/#"), format!("{ROOT}/+/commands")] {
            assert_eq!(identity.allows_subscribe(&filter), all, "{} {filter}", identity.role.as_str());
        }
        for topic in &topics {
            let wide = widened(topic);
            if wide == topic.to_string() {
                continue;
            }
            let may = all || !relay && identity.reach == Reach::All && identity.allows_subscribe(&topic.to_string());
            assert_eq!(identity.allows_subscribe(&wide), may, "{} {wide}", identity.role.as_str());
            assert!(!identity.allows_publish(&wide), "{} publishes to {wide}", identity.role.as_str());
        }
        for foreign in ["", "elsewhere", "tinymlaas/v1", "tinymlaas/v1/relays/bench/unheard-of", "$SYS/x"] {
            assert!(!identity.allows_publish(foreign), "{} {foreign}", identity.role.as_str());
        }
    }
}

#[test]
fn health_is_under_ones_own_name() {
    let admin = Identity { name: "eve".into(), role: Role::Admin, reach: Reach::All };
    assert!(admin.allows_publish("tinymlaas/v1/health/eve"));
    assert!(!admin.allows_publish("tinymlaas/v1/health/somebody"));
}

/// The identities of the table and one that reaches no relay at all, on every topic of three relays, with and without
/// wildcards: a broker that holds the lists decides as one that asks.
#[test]
fn lists_of_filters_say_the_same() {
    let device = DeviceId::new("board").unwrap();
    let topics: Vec<Topic> =
        ["bench", "other", "third"].iter().flat_map(|relay| Topic::every(&id(relay), &device, "somebody")).collect();
    let mut all = identities();
    all.push(Identity { name: "somebody".into(), role: Role::Operator, reach: Reach::Only(Default::default()) });
    for identity in &all {
        let grants = identity.grants();
        let listed = |list: &std::collections::BTreeSet<String>, text: &str| list.iter().any(|own| covers(own, text));
        for topic in &topics {
            let text = topic.to_string();
            let who = format!("{} {:?} {text}", identity.role.as_str(), identity.reach);
            assert_eq!(listed(&grants.publish, &text), identity.allows_publish(&text), "{who}");
            assert_eq!(listed(&grants.subscribe, &text), identity.allows_subscribe(&text), "{who}");
            let wide = widened(topic);
            assert_eq!(listed(&grants.subscribe, &wide), identity.allows_subscribe(&wide), "{who}: {wide}");
        }
        for foreign in ["#", "elsewhere", "tinymlaas/#", "tinymlaas/v1/relays/bench/unheard-of"] {
            assert!(!listed(&grants.publish, foreign), "{foreign}");
            assert_eq!(listed(&grants.subscribe, foreign), identity.allows_subscribe(foreign), "{foreign}");
        }
    }
}
