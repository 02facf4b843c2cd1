//! A control group: a share of the machine for some processes, and what the system counts of them.
//!
//! It lies under the group that the test itself is in, so that whatever limits the test limits these too. This takes
//! root and the hierarchies of version 1; where they are missing, [`why_not_here`] says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::wait;

/// What the names of all groups of tests begin with. The process follows that made the group.
const PREFIX: &str = "flagraft-test-";
/// The processes of a group, one a line; what is written to it moves in.
const MEMBERS: &str = "cgroup.procs";
/// How long the system may take to let go of processes that have moved or ended.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);

/// A group. Dropped, its processes are back where the test is, and it is removed.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
}

/// Why groups can't be made on this machine; `None`: they can.
pub fn why_not_here(controller: &str) -> Option<String> {
    Cgroup::new(controller, "probe").err().map(|error| format!("no control group of {controller}: {error}"))
}

impl Cgroup {
    /// Makes a group of this controller (`cpu`, `memory`, `blkio`), with nothing in it and no limits.
    ///
    /// # Errors
    /// The controller has no hierarchy here, or the group can't be made in it.
    pub fn new(controller: &str, name: &str) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        static LEFTOVERS: Once = Once::new();
        LEFTOVERS.call_once(remove_leftovers);
        let parent = own(controller)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{PREFIX}{}-{number}-{name}", process::id()));
        fs::create_dir(&folder).map_err(|error| at(&folder, &error))?;
        Ok(Self { folder })
    }

    /// Moves a process in, with all its threads. What it starts from now on is in it too.
    ///
    /// # Errors
    /// It has ended, or may not be moved.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        self.set(MEMBERS, pid)
    }

    /// Writes one of the group's files, such as `cpu.cfs_quota_us`.
    ///
    /// # Errors
    /// There is none, or it does not take this.
    pub fn set(&self, file: &str, value: impl ToString) -> io::Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, value.to_string()).map_err(|error| at(&path, &error))
    }

    /// Reads one of the group's files, such as `cpu.stat`.
    ///
    /// # Errors
    /// There is none.
    pub fn read(&self, file: &str) -> io::Result<String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).map_err(|error| at(&path, &error))
    }

    /// Reads a number: all that a file says, or what stands after this word in it.
    ///
    /// # Errors
    /// There is none.
    pub fn count(&self, file: &str, word: Option<&str>) -> io::Result<u64> {
        let text = self.read(file)?;
        number(&text, word).ok_or_else(|| at(&self.folder.join(file), &io::Error::other(text)))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A test that ends can do no more about it; the next one looks for leftovers.
        let _ = dissolve(&self.folder);
    }
}

/// Moves the processes of a group to the one above, and removes it.
fn dissolve(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().ok_or(io::ErrorKind::NotFound)?.join(MEMBERS);
    let tried = || -> io::Result<()> {
        for pid in fs::read_to_string(folder.join(MEMBERS))?.lines() {
            // It may end at any moment.
            let _ = fs::write(&parent, pid);
        }
        fs::remove_dir(folder)
    };
    // A process that has ended is in its group for a moment more.
    wait::found_blocking(EMPTY_WITHIN, || tried().ok()).map_or_else(tried, Ok)
}

/// Removes the groups of test processes that were killed.
fn remove_leftovers() {
    let Ok(hierarchies) = fs::read_to_string("/proc/self/cgroup") else { return };
    let controllers = hierarchies.lines().filter_map(|line| line.split(':').nth(1)?.split(',').next());
    for parent in controllers.filter_map(|controller| own(controller).ok()) {
        let Ok(folders) = fs::read_dir(&parent) else { continue };
        for folder in folders.flatten() {
            let name = folder.file_name();
            let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
            if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = dissolve(&folder.path());
            }
        }
    }
}

/// The group that this process is in.
fn own(controller: &str) -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let hierarchy = hierarchy(&mounts, controller).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "it has no hierarchy of version 1 here; mount one")
    })?;
    // In a container the path may be one of the machine around it: then all that is seen is the container's.
    let path = path_within(&groups, controller).unwrap_or_default();
    Ok(Some(hierarchy.join(path)).filter(|folder| folder.is_dir()).unwrap_or(hierarchy))
}

/// Where the hierarchy of a controller is mounted.
fn hierarchy(mounts: &str, controller: &str) -> Option<PathBuf> {
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let is_of = |mount: &Vec<&str>| {
        mount.get(2) == Some(&"cgroup")
            && mount.get(3).is_some_and(|options| options.split(',').any(|option| option == controller))
    };
    mounts.find(is_of).map(|mount| PathBuf::from(mount[1]))
}

/// The group of a process in the hierarchy of a controller, without the first slash.
fn path_within<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|one| one == controller).then(|| path.trim_start_matches('/'))
    })
}

fn number(text: &str, word: Option<&str>) -> Option<u64> {
    let Some(word) = word else { return text.trim().parse().ok() };
    text.lines()
        .find_map(|line| line.split_once(' ').filter(|(name, _)| *name == word)?.1.trim().parse().ok())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::settings::measured;

    #[test]
    fn a_hierarchy_is_found_and_a_group_in_it() {
        let mounts =
            "cgroup2 /sys/unified cgroup2 rw 0 0\ncgroup /sys/cpu,cpuacct cgroup rw,cpuacct,cpu 0 0\n";
        assert_eq!(hierarchy(mounts, "cpu"), Some(PathBuf::from("/sys/cpu,cpuacct")));
        assert_eq!(hierarchy(mounts, "memory"), None);
        let groups = "4:memory:/some/group\n3:cpuacct,cpu:/\n0::/\n";
        assert_eq!(path_within(groups, "memory"), Some("some/group"));
        assert_eq!(path_within(groups, "cpu"), Some(""));
        assert_eq!(path_within(groups, "blkio"), None);
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(number("7\n", None), Some(7));
        assert_eq!(number("nr_periods 3\nnr_throttled 2\n", Some("nr_throttled")), Some(2));
        assert_eq!(number("nr_periods 3\n", Some("nr_throttled")), None);
    }

    /// A process that wants all that it can get.
    struct Busy(Child);

    impl Busy {
        fn start() -> Self {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            Self(shell.spawn().expect("a shell"))
        }

        fn group(&self, controller: &str) -> String {
            let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).expect("it runs");
            path_within(&groups, controller).expect("it is in one").to_owned()
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn what_is_in_a_group_has_its_share_and_leaves_it_alive_when_it_is_dropped() {
        if let Some(why) = why_not_here("cpu") {
            measured("NOT RUN HERE: control groups", why);
            return;
        }
        let busy = Busy::start();
        let before = busy.group("cpu");
        let group = Cgroup::new("cpu", "busy").expect("it can be made");
        group.set("cpu.cfs_quota_us", 5_000).expect("a share");
        group.add(busy.0.id()).expect("it runs");
        assert_ne!(busy.group("cpu"), before);
        let throttled = || group.count("cpu.stat", Some("nr_throttled")).ok().filter(|times| *times > 0);
        wait::found_blocking(Duration::from_secs(10), throttled).expect("it wants more than its share");
        let folder = group.folder.clone();
        drop(group);
        assert!(!folder.exists(), "{} is left", folder.display());
        assert_eq!(busy.group("cpu"), before);
    }

    #[test]
    fn the_group_of_a_test_that_was_killed_is_removed() {
        if why_not_here("cpu").is_some() {
            return;
        }
        let ended = {
            let mut child = Command::new("true").spawn().expect("it starts");
            child.wait().expect("it ends");
            child.id()
        };
        let left = own("cpu").expect("it is here").join(format!("{PREFIX}{ended}-1-left"));
        fs::create_dir(&left).expect("it is new");
        remove_leftovers();
        assert!(!left.exists());
        let lives = Cgroup::new("cpu", "lives").expect("it can be made");
        remove_leftovers();
        assert!(lives.folder.exists(), "who made it lives");
    }
}
