//! A disk of its own for a node, with what can happen to one: the power goes, it fills up, it stops taking writes, a
//! sync fails and the next one does not.
//!
//! It is an ext4 image on a loop device. That takes root and loop devices; where they are missing, [`Disk::here`] says
//! so for the test, which must not pass in silence.

mod frozen;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{LazyLock, Once},
};

use rustix::fs::{
    FallocateFlags, FlockOperation, Mode, OFlags, fallocate, flock, major, minor, statvfs, syncfs,
};

pub use self::frozen::Frozen;
use crate::settings::measured;

const MIB: u64 = 1024 * 1024;

/// What no power cut takes away: it is synced.
const SYNCED: &str = "synced";
/// What every power cut takes away: it is written just before, and not synced. The proof that the cut took effect.
const UNSYNCED: &str = "unsynced";
/// What fills the disk.
const BALLAST: &str = "ballast";
/// Held for as long as the process lives that the disk belongs to.
const LOCK: &str = "lock";
/// The name of the mount point in the disk's folder.
const MOUNT: &str = "mount";

/// Shuts a mounted ext4 down without writing anything back (EXT4_IOC_SHUTDOWN with NOLOGFLUSH), at once on all that are
/// named. An ioctl is no safe call; perl is on every Debian and starts in milliseconds.
const SHUT_DOWN: &str = r#"
for (@ARGV) { sysopen(my $disk, $_, 0) or die "$_: $!"; push @disks, $disk }
for (@disks) { my $without_flush = pack("L", 2); ioctl($_, 0x8004587d, $without_flush) or die "ioctl: $!" }
"#;

/// What a disk is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    size_mib: u64,
    shelf_mib: Option<u64>,
}

impl DiskSpec {
    /// A disk of this size.
    pub const fn of_mib(size_mib: u64) -> Self {
        Self { size_mib, shelf_mib: None }
    }

    /// On a shelf (a tmpfs) of this size that can be narrowed below what the disk promises to hold: writes succeed, and
    /// then a sync fails for want of room. What failed to be written is forgotten, so that **the next sync succeeds**.
    #[must_use]
    pub const fn on_shelf_of_mib(mut self, shelf_mib: u64) -> Self {
        self.shelf_mib = Some(shelf_mib);
        self
    }
}

/// A mounted disk. Dropped, it is unmounted, and its image removed with the folder it lies in.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    shelf: Option<PathBuf>,
    /// Keeps other test processes from taking this disk for a leftover.
    _lock: File,
}

impl Disk {
    /// Why disks can't be made on this machine; `None`: they can.
    pub fn why_not_here() -> Option<String> {
        static WHY_NOT: LazyLock<Option<String>> = LazyLock::new(|| {
            let folder = tempfile::TempDir::with_prefix("flagraft-test-").expect("a temporary folder");
            Disk::try_new(folder.path(), DiskSpec::of_mib(8)).err()
        });
        WHY_NOT.clone()
    }

    /// Whether disks can be made on this machine. If not, says that `what` was not run, and why.
    pub fn here(what: &str) -> bool {
        match Self::why_not_here() {
            None => true,
            Some(why) => {
                measured(&format!("NOT RUN HERE: {what}"), why);
                false
            }
        }
    }

    /// Makes a disk in this folder, which must be empty or new, and mounts it.
    ///
    /// # Panics
    /// It can't be made; [`Disk::here`] tells beforehand.
    pub fn new(folder: &Path, spec: DiskSpec) -> Self {
        Self::try_new(folder, spec).unwrap_or_else(|why| panic!("a disk for a test can't be made: {why}"))
    }

    fn try_new(folder: &Path, spec: DiskSpec) -> Result<Self, String> {
        static LEFTOVERS: Once = Once::new();
        LEFTOVERS.call_once(remove_leftovers);
        if !rustix::process::geteuid().is_root() {
            return Err("mounting takes root".to_owned());
        }
        let io = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(folder.join(MOUNT)).map_err(io)?;
        let lock = File::create(folder.join(LOCK)).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let shelf = spec.shelf_mib.map(|_| folder.join("shelf"));
        // From here on `drop` takes away what there is.
        let disk = Self { folder: folder.to_owned(), shelf, _lock: lock };
        if let (Some(shelf), Some(size_mib)) = (&disk.shelf, spec.shelf_mib) {
            fs::create_dir_all(shelf).map_err(io)?;
            let size = format!("size={size_mib}m");
            run("mount", &["-t", "tmpfs", "-o", &size, "flagraft-test", &shelf.to_string_lossy()])?;
        }
        let image = disk.image();
        File::create(&image).and_then(|file| file.set_len(spec.size_mib * MIB)).map_err(io)?;
        let image = image.to_string_lossy();
        // All of it is for the nodes, which run as root like this test. On a shelf, a journal could be what finds no
        // room, which is another fault: the whole disk would go read-only.
        let journal: &[&str] = if disk.shelf.is_some() { &["-O", "^has_journal"] } else { &[] };
        run("mkfs.ext4", &[&["-q", "-F", "-m", "0"], journal, &[&image]].concat())?;
        disk.mount()?;
        let marker = disk.root().join(SYNCED);
        File::create(&marker)
            .and_then(|mut file| file.write_all(SYNCED.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(io)?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.shelf.as_ref().unwrap_or(&self.folder).join("image")
    }

    /// The folder that the disk is mounted on.
    pub fn root(&self) -> PathBuf {
        self.folder.join(MOUNT)
    }

    fn mount(&self) -> Result<(), String> {
        let (image, root) = (self.image(), self.root());
        run(
            "mount",
            &["-o", "loop,noatime,errors=remount-ro", &image.to_string_lossy(), &root.to_string_lossy()],
        )
    }

    /// The device it is on, and the options it is mounted with.
    fn mounted(&self) -> (String, String) {
        let mounts = fs::read_to_string("/proc/mounts").expect("Linux tells what is mounted");
        let of_this = |line: &str| {
            let columns: Vec<&str> = line.split(' ').collect();
            let here = columns.get(1).is_some_and(|point| Path::new(point) == self.root());
            here.then(|| (columns[0].to_owned(), columns.get(3).copied().unwrap_or_default().to_owned()))
        };
        mounts.lines().find_map(of_this).unwrap_or_else(|| panic!("{} is not mounted", self.root().display()))
    }

    fn has_option(&self, wanted: &str) -> bool {
        self.mounted().1.split(',').any(|option| option == wanted)
    }

    /// The device that it is, as control groups name one: `7:3`.
    ///
    /// # Panics
    /// The disk can't be asked.
    pub fn device(&self) -> String {
        let device = fs::metadata(self.root()).expect("a mounted disk").dev();
        format!("{}:{}", major(device), minor(device))
    }

    /// Syncs all that was written to it, so that a power cut does not take it away.
    ///
    /// # Panics
    /// The disk refuses.
    pub fn sync(&self) {
        let root = File::open(self.root()).expect("a mounted disk");
        syncfs(root).unwrap_or_else(|error| panic!("syncing {}: {error}", self.root().display()));
    }

    // --- power ---

    /// Takes power from all of these at the same moment. What was not synced is lost, and until [`Disk::power_on`]
    /// everything on them fails with an I/O error.
    ///
    /// # Panics
    /// It can't be done.
    pub fn cut_power(disks: &[&Self]) {
        for disk in disks {
            fs::write(disk.root().join(UNSYNCED), UNSYNCED).expect("a marker can be written");
        }
        let roots: Vec<_> = disks.iter().map(|disk| disk.root().to_string_lossy().into_owned()).collect();
        let args: Vec<&str> = ["-e", SHUT_DOWN].into_iter().chain(roots.iter().map(String::as_str)).collect();
        run("perl", &args).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Whether the system says that it is shut down: its power was cut, and is not back.
    pub fn has_no_power(&self) -> bool {
        self.has_option("shutdown")
    }

    /// Gives power back, and reads the disk anew. No process may use it.
    ///
    /// # Panics
    /// It is in use; or the power cut took no effect, so that a test after it would prove nothing.
    pub fn power_on(&self) {
        assert!(self.has_no_power(), "invalid run: {} was not shut down", self.root().display());
        self.read_anew();
        let read = |name| fs::read(self.root().join(name)).unwrap_or_default();
        assert!(
            read(UNSYNCED) != UNSYNCED.as_bytes(),
            "invalid run: what was not synced survived a power cut"
        );
        assert!(
            read(SYNCED) == SYNCED.as_bytes(),
            "invalid run: what was synced did not survive a power cut"
        );
        let _ = fs::remove_file(self.root().join(UNSYNCED));
    }

    /// Unmounts and mounts it: from then on only what is on the disk counts, not what the system remembers of it. No
    /// process may use it.
    ///
    /// # Panics
    /// It is in use.
    pub fn read_anew(&self) {
        run("umount", &[&self.root().to_string_lossy()])
            .and_then(|()| self.mount())
            .unwrap_or_else(|why| panic!("{why}"));
    }

    // --- room ---

    /// How many bytes are free.
    ///
    /// # Panics
    /// The disk can't be asked.
    pub fn room(&self) -> u64 {
        let stat = statvfs(self.root()).expect("a mounted disk");
        stat.f_bavail * stat.f_frsize
    }

    /// Fills it until this many bytes are free, give or take a block.
    ///
    /// # Panics
    /// It can't be filled.
    pub fn fill(&self, left_bytes: u64) {
        let path = self.root().join(BALLAST);
        let ballast = rustix::fs::open(
            &path,
            OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // What describes the file takes room too, so the last steps are small ones.
        for step in [MIB, 64 * 1024, 4096] {
            while let free = self.room()
                && free >= left_bytes + step
            {
                let from = fs::metadata(&path).expect("the file is there").len();
                let length = if step == MIB { (free - left_bytes) / MIB * MIB } else { step };
                match fallocate(&ballast, FallocateFlags::empty(), from, length) {
                    Ok(()) => {}
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => panic!("{}: {error}", path.display()),
                }
            }
        }
    }

    /// Takes away what filled it.
    ///
    /// # Panics
    /// It was not filled.
    pub fn free(&self) {
        let path = self.root().join(BALLAST);
        fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Turns it read-only, as the system does when it finds the file system damaged: who has files open can't write to
    /// them any more. Only unmounting it ends this: [`Disk::repair`].
    ///
    /// # Panics
    /// It can't be done.
    pub fn turn_read_only(&self) {
        let (device, _) = self.mounted();
        let name = device.rsplit('/').next().unwrap_or_default();
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        fs::write(&trigger, "a test's fault").unwrap_or_else(|error| panic!("{trigger}: {error}"));
        assert!(
            self.has_option("emergency_ro") || self.has_option("ro"),
            "invalid run: it is still writable"
        );
    }

    /// Checks and mounts it again, as an operator would. No process may use it.
    ///
    /// # Panics
    /// It is in use.
    pub fn repair(&self) {
        run("umount", &[&self.root().to_string_lossy()]).unwrap_or_else(|why| panic!("{why}"));
        // It says with its exit code that it repaired something.
        let _ = run("e2fsck", &["-p", &self.image().to_string_lossy()]);
        self.mount().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Narrows the shelf to what lies on it: syncs of anything new fail from now on.
    ///
    /// # Panics
    /// The disk is on no shelf.
    pub fn narrow_shelf(&self) {
        let shelf = self.shelf.as_ref().expect("this disk is on a shelf: DiskSpec::on_shelf_of_mib");
        let stat = statvfs(shelf).expect("a mounted shelf");
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
        self.resize_shelf(used);
    }

    /// Makes the shelf as wide as it was made, or another width.
    ///
    /// # Panics
    /// The disk is on no shelf.
    pub fn widen_shelf(&self, shelf_mib: u64) {
        self.resize_shelf(shelf_mib * MIB);
    }

    fn resize_shelf(&self, bytes: u64) {
        let shelf = self.shelf.as_ref().expect("this disk is on a shelf: DiskSpec::on_shelf_of_mib");
        let options = format!("remount,size={bytes}");
        run("mount", &["-o", &options, &shelf.to_string_lossy()]).unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.root());
        if let Some(shelf) = &self.shelf {
            unmount(shelf);
        }
    }
}

/// Unmounts what may be mounted there, and if somebody still uses it, lets it go once they do not.
fn unmount(point: &Path) {
    let point = point.to_string_lossy();
    if run("umount", &[&point]).is_err() {
        let _ = run("umount", &["--lazy", &point]);
    }
}

/// Unmounts the disks of test processes that were killed, and removes their images.
fn remove_leftovers() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    // Those mounted last first: a disk before the shelf that it is on.
    for point in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        let point = Path::new(point);
        let Some(folder) =
            point.parent().filter(|folder| folder.to_string_lossy().contains("/flagraft-test-"))
        else {
            continue;
        };
        let Ok(lock) = File::open(folder.join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            frozen::thaw(point);
            unmount(point);
            let _ = fs::remove_file(folder.join("image"));
        }
    }
}

/// Runs a program of the system, and says what it said if it failed.
fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let Output { status, stderr, .. } =
        Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&stderr);
            Err(format!("{program} {}: {status}: {}", args.last().unwrap_or(&""), said.trim()))
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        TempDir::with_prefix("flagraft-test-").expect("a temporary folder")
    }

    fn write(path: &Path, sync: bool) -> io::Result<()> {
        let mut file = File::options().create(true).append(true).open(path)?;
        file.write_all(&[b'x'; 100_000])?;
        if sync { file.sync_data() } else { Ok(()) }
    }

    #[test]
    fn a_power_cut_takes_what_is_not_synced_and_nothing_else() {
        if !Disk::here("power cut of a disk") {
            return;
        }
        let folders = [folder(), folder()];
        let [one, other] = folders.each_ref().map(|folder| Disk::new(folder.path(), DiskSpec::of_mib(16)));
        for disk in [&one, &other] {
            write(&disk.root().join("kept"), true).expect("it has room");
            write(&disk.root().join("lost"), false).expect("it has room");
        }
        Disk::cut_power(&[&one]);
        assert!(write(&one.root().join("late"), false).is_err(), "there is no power");
        write(&other.root().join("late"), true).expect("the other disk has power");
        one.power_on();
        let size = |name: &str| fs::metadata(one.root().join(name)).map(|file| file.len()).unwrap_or(0);
        assert_eq!((size("kept"), size("lost")), (100_000, 0));
        write(&one.root().join("late"), true).expect("it works again");
        let mounts = |path: &Path| {
            fs::read_to_string("/proc/mounts").expect("Linux").contains(&*path.to_string_lossy())
        };
        let root = one.root();
        assert!(mounts(&root));
        drop(one);
        assert!(!mounts(&root), "what is dropped is unmounted");
    }

    #[test]
    fn a_full_disk_takes_nothing_and_one_with_room_does() {
        if !Disk::here("a full disk") {
            return;
        }
        let folder = folder();
        let disk = Disk::new(folder.path(), DiskSpec::of_mib(16));
        disk.fill(2 * MIB);
        assert!(disk.room().abs_diff(2 * MIB) <= 64 * 1024, "{} bytes are free", disk.room());
        write(&disk.root().join("file"), true).expect("it has room");
        disk.fill(0);
        let full = (0..).find_map(|_| write(&disk.root().join("file"), true).err()).expect("it fills up");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        disk.free();
        write(&disk.root().join("file"), true).expect("it has room");
    }

    #[test]
    fn a_disk_turned_read_only_takes_nothing_until_it_is_repaired() {
        if !Disk::here("a disk turned read-only") {
            return;
        }
        let folder = folder();
        let disk = Disk::new(folder.path(), DiskSpec::of_mib(16));
        write(&disk.root().join("file"), true).expect("it is writable");
        disk.turn_read_only();
        let refused = write(&disk.root().join("file"), false).expect_err("it is not");
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
        disk.repair();
        write(&disk.root().join("file"), true).expect("it is writable");
    }

    #[test]
    fn on_a_narrow_shelf_one_sync_fails_and_the_next_succeeds() {
        if !Disk::here("a sync that fails once") {
            return;
        }
        let folder = folder();
        let disk = Disk::new(folder.path(), DiskSpec::of_mib(64).on_shelf_of_mib(32));
        let path = disk.root().join("file");
        write(&path, true).expect("it has room");
        disk.narrow_shelf();
        let mut file = File::options().append(true).open(&path).expect("it is there");
        file.write_all(&vec![b'y'; 4_000_000]).expect("the disk has room, as far as it knows");
        assert!(file.sync_data().is_err(), "there is no room for it on the shelf");
        file.sync_data().expect("what failed is forgotten");
        disk.widen_shelf(64);
        write(&path, true).expect("it has room");
    }
}
