//! The folders of a run on this machine, checked before anything is written.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::failure::Failure;

/// The source folder, absolute.
pub(crate) fn check_source(source: &Path) -> Result<PathBuf, Failure> {
    let hint = "`--source` takes the folder that holds `main_stream`";
    let unusable = |problem: String| {
        Failure::could_not_run(format!(
            "cannot read the source `{}`: {problem}",
            source.display()
        ))
        .hint(hint)
    };
    let absolute = fs::canonicalize(source).map_err(|error| unusable(error.to_string()))?;
    fs::read_dir(&absolute).map_err(|error| unusable(error.to_string()))?;
    Ok(absolute)
}

/// The destination folder, absolute, which need not exist but must not be inside the source.
pub(crate) fn check_destination(
    destination: &Path,
    source: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let absolute = resolve(destination).map_err(|error| {
        Failure::could_not_run(format!(
            "cannot use the destination `{}`: {error}",
            destination.display()
        ))
        .hint("`--destination` takes a folder, or a path where one can be made")
    })?;
    if let Some(source) = source.filter(|source| absolute.starts_with(source)) {
        return Err(Failure::usage(format!(
            "the destination `{}` lies inside of the source `{}`",
            destination.display(),
            source.display()
        ))
        .hint("choose a destination outside of the backup, which stays as it is"));
    }
    Ok(absolute)
}

/// The absolute path, with the links resolved in the part of it that exists.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if absolute
        .components()
        .any(|component| component == Component::ParentDir)
    {
        // Only what exists can be resolved past a `..`.
        return fs::canonicalize(&absolute);
    }
    let mut existing = absolute.as_path();
    let mut rest = Vec::new();
    loop {
        let resolved = fs::canonicalize(existing).and_then(|resolved| {
            let is_folder = fs::metadata(&resolved)?.is_dir();
            Ok((resolved, is_folder))
        });
        match resolved {
            Ok((resolved, true)) => {
                return Ok(rest
                    .into_iter()
                    .rev()
                    .fold(resolved, |path, name| path.join(name)));
            }
            Ok((_, false)) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        rest.push(name);
        existing = parent;
    }
}
