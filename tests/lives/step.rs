//! What may happen to an environment, drawn by lot: the same steps on the host in memory and on a booted one.

use portreeve::policy::Until;
use proptest::prelude::*;

/// So many releases in a row need the same packages.
pub const SAME_PACKAGES: u32 = 3;

/// What happens.
#[derive(Debug, Clone)]
pub enum Step {
    /// A new release.
    Push(Behaviour),
    /// A commit that changes nothing here.
    PushSame,
    /// An earlier release once more: the so many-th before.
    PushOld(usize),
    /// The branch is rewritten, to something new.
    ForcePush,
    /// It is put back on what was followed.
    PutBack,
    /// It is to be gone, and deleted after so many minutes more.
    Remove(u64),
    /// It is wanted again.
    Name,
    Rollback(Until),
    /// For so many hours; `None`: until somebody resumes it.
    Suspend(Option<i64>),
    Resume,
    Retry,
    Stop,
    Start,
    Restart,
    /// The pass after the next step is killed at one of its points: a share of them in 65,536ths. In memory an odd share comes to the
    /// next step itself, where that is an order, which is then given again.
    Kill(u16),
    /// The power goes at one of them, and each unsynced file or directory is lost by a bit of its own.
    PowerCut(u16, u64),
    /// The clock on the wall is set meanwhile, by days.
    Reboot(i64),
    Drift(Accident),
    /// The clock on the wall is set, by days.
    Clock(i64),
    /// The git server does not answer, or does again.
    Git(bool),
    /// The package index does not answer, or does again.
    Index(bool),
    /// The disk has room for so many more files and writes; `None`: for all.
    Room(Option<u8>),
    /// Time goes by, in minutes.
    Wait(u64),
}

/// What befalls a host.
#[derive(Debug, Clone, Copy)]
pub enum Accident {
    NginxLinkGone,
    LogrotateLinkGone,
    VhostEdited,
    SettingsReadable,
    UnitEdited,
    SlotStopped,
    SocketMoved,
}

/// How a release behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers 200.
    Well,
    /// Ends while it starts.
    Dies,
    /// Answers 500.
    Fails,
    /// Answers 200 to whoever asks it alone, and 500 through the web server.
    FailsInFront,
}

impl Behaviour {
    pub const ALL: [Self; 4] = [Self::Well, Self::Dies, Self::Fails, Self::FailsInFront];

    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Dies => "dies",
            Self::Fails => "fails",
            Self::FailsInFront => "fails-in-front",
        }
    }
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::Well),
        1 => Just(Behaviour::Dies),
        1 => Just(Behaviour::Fails),
        1 => Just(Behaviour::FailsInFront),
    ]
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        Just(Accident::NginxLinkGone),
        Just(Accident::LogrotateLinkGone),
        Just(Accident::VhostEdited),
        Just(Accident::SettingsReadable),
        Just(Accident::UnitEdited),
        Just(Accident::SlotStopped),
        Just(Accident::SocketMoved),
    ]
}

/// One step. Whoever holds it lets it go on soon, or little else would happen.
pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => behaviour().prop_map(Step::Push),
        2 => Just(Step::PushSame),
        3 => (0..6_usize).prop_map(Step::PushOld),
        1 => Just(Step::ForcePush),
        4 => Just(Step::PutBack),
        1 => (0..4_u64).prop_map(Step::Remove),
        4 => Just(Step::Name),
        3 => prop_oneof![Just(Until::Change), Just(Until::Resume)].prop_map(Step::Rollback),
        1 => proptest::option::of(1..5_i64).prop_map(Step::Suspend),
        6 => Just(Step::Resume),
        2 => Just(Step::Retry),
        1 => Just(Step::Stop),
        5 => Just(Step::Start),
        2 => Just(Step::Restart),
        6 => any::<u16>().prop_map(Step::Kill),
        5 => (any::<u16>(), any::<u64>()).prop_map(|(share, bits)| Step::PowerCut(share, bits)),
        2 => prop_oneof![2 => Just(0), 1 => -3650..3650_i64].prop_map(Step::Reboot),
        4 => accident().prop_map(Step::Drift),
        1 => (-3650..3650_i64).prop_map(Step::Clock),
        1 => Just(Step::Git(false)),
        4 => Just(Step::Git(true)),
        1 => Just(Step::Index(false)),
        7 => Just(Step::Index(true)),
        1 => any::<u8>().prop_map(|more| Step::Room(Some(more))),
        7 => Just(Step::Room(None)),
        2 => (1..600_u64).prop_map(Step::Wait),
    ]
}
