//! Removing what others have made: however deep it is, whatever its modes, and without following links.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Depth to which a directory is emptied in place. What lies deeper is brought up first: recursion takes stack, and names of 255
/// bytes fit this often into a path.
const DEPTH_MAX: usize = 8;

/// Removes a directory with all that is in it. Nobody may change it meanwhile.
///
/// # Errors
/// The file system refuses; a directory that is not there is no error.
pub fn remove(root: &Path) -> io::Result<()> {
    match fs::symlink_metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_dir() => return fs::remove_file(root),
        Ok(_) => {}
    }
    let mut brought_up = 0;
    loop {
        let before = brought_up;
        empty(root, (root, &mut brought_up), 0)?;
        if brought_up == before {
            return fs::remove_dir(root);
        }
    }
}

/// Empties a directory, and brings what is too deep up to `root`.
fn empty(directory: &Path, (root, brought_up): (&Path, &mut u64), depth: usize) -> io::Result<()> {
    let entries = fs::read_dir(directory).or_else(|_| {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        fs::read_dir(directory)
    })?;
    // Entries cannot be taken out of a directory that its owner may not write to.
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in entries {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if !entry?.is_dir() {
            fs::remove_file(path)?;
        } else if depth < DEPTH_MAX {
            empty(&path, (root, brought_up), depth + 1)?;
            fs::remove_dir(path)?;
        } else {
            // To move a directory is to write its parent into it.
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            fs::rename(&path, root.join(format!(".brought-up-{brought_up}")))?;
            *brought_up += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deep_or_closed_goes_and_what_links_lead_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let (root, kept) = (place.path().join("root"), place.path().join("kept"));
        fs::write(&kept, "kept").unwrap();
        let mut path = root.clone();
        fs::create_dir(&path).unwrap();
        for level in 0..14 {
            path = path.join(format!("{level}{}", "x".repeat(200)));
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        // Deeper than a path can say, as a program makes it that goes down step by step.
        for turn in 0..40 {
            let deeper = place.path().join("deeper");
            fs::create_dir(&deeper).unwrap();
            let first = fs::read_dir(&root).unwrap().next().unwrap().unwrap().path();
            fs::rename(first, deeper.join(format!("{turn}"))).unwrap();
            fs::rename(deeper, root.join("0")).unwrap();
        }
        std::os::unix::fs::symlink(&kept, root.join("link")).unwrap();
        std::os::unix::fs::symlink(place.path(), root.join("up")).unwrap();
        fs::create_dir_all(root.join("closed/inner")).unwrap();
        fs::set_permissions(root.join("closed"), Permissions::from_mode(0o0)).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
        assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
        remove(&root).unwrap();
    }
}
