//! Images in files: every form of them, what layers may do to each other, and what hostile ones may not.

#[path = "images/builder.rs"]
mod builder;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bookend::image::{Image, Ownership};
use builder::{Builder, Entry, FORMS, Form, Layer, hex, tar};
use common::{Output, Scratch, bookend, bundles, finish, is_root};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tar::EntryType;

fn plain(entries: &[Entry]) -> Layer {
    Layer::plain(tar(entries))
}

/// Unpacks an image as the caller can, into `root` of the directory.
fn unpack(image: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let root = directory.join("root");
    Image::open(image)?.unpack(&root, Ownership::of_caller())?;
    Ok(root)
}

/// The root file system that the layers make.
fn unpacked(scratch: &Scratch, layers: Vec<Layer>) -> PathBuf {
    let image = Builder::new(layers).write(Form::LayoutTar, scratch.path());
    unpack(&image, scratch.path()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Everything in a tree: kind, mode, and content or target.
fn listing(root: &Path) -> BTreeMap<String, String> {
    fn add(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = match meta.file_type() {
                kind if kind.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
                kind if kind.is_dir() => format!("{:o}", meta.mode() & 0o7777),
                kind if kind.is_file() => {
                    format!("{:o} {}", meta.mode() & 0o7777, String::from_utf8_lossy(&fs::read(&path).unwrap()))
                }
                kind if kind.is_fifo() => "fifo".into(),
                _ => "device".into(),
            };
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), what);
            if meta.is_dir() {
                add(root, &path, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    add(root, root, &mut found);
    found
}

fn names(root: &Path) -> Vec<String> {
    listing(root).into_keys().collect()
}

#[test]
fn every_form_and_every_compression_gives_the_same_tree() {
    let lower = tar(&[Entry::dir("etc/"), Entry::file("etc/name", "lower"), Entry::file("gone", "")]);
    let upper = tar(&[Entry::file("./etc/name", "upper"), Entry::file(".wh.gone", ""), Entry::symlink("link", "/etc")]);
    let layers = vec![Layer::gzip(lower.clone()), Layer::zstd(upper.clone()), Layer::plain(upper), Layer::gzip(lower)];
    for form in FORMS {
        let scratch = Scratch::new();
        let mut image = Builder::new(layers.clone());
        image.process = json!({ "Entrypoint": ["/bin/app"], "Cmd": ["-v"], "Env": ["A=1"], "User": "app",
                                "WorkingDir": "/srv", "StopSignal": "SIGQUIT" });
        let path = image.write(form, scratch.path());
        for named in [path.clone(), format!("{}:app:1", path.display()).into(), format!("{}:1", path.display()).into()]
        {
            let config = Image::open(&named).unwrap_or_else(|error| panic!("{form:?}: {error:#}")).config;
            assert_eq!((config.entrypoint, config.cmd), (vec!["/bin/app".into()], vec!["-v".into()]));
            assert_eq!((config.env, config.working_dir.as_deref()), (vec!["A=1".into()], Some("/srv")));
            assert_eq!((config.user.as_deref(), config.stop_signal.as_deref()), (Some("app"), Some("SIGQUIT")));
        }
        let root = unpack(&path, scratch.path()).unwrap();
        assert_eq!(names(&root), ["etc", "etc/name", "gone", "link"], "{form:?}");
        assert_eq!(fs::read_to_string(root.join("etc/name")).unwrap(), "lower");
    }
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let scratch = Scratch::new();
    let lower = plain(&[
        Entry::dir("kept"),
        Entry::file("kept/old", ""),
        Entry::dir("opaque"),
        Entry::dir("opaque/deep"),
        Entry::file("opaque/deep/old", ""),
        Entry::dir("gone"),
        Entry::file("gone/inner", ""),
        Entry::file("replaced", "old"),
        Entry::dir("target"),
        Entry::file("target/stays", ""),
        Entry::symlink("turned", "target"),
    ]);
    let upper = plain(&[
        // Whatever the order: a whiteout is about the layers below.
        Entry::file("replaced", "new"),
        Entry::file(".wh.replaced", ""),
        Entry::file("opaque/new", ""),
        Entry::file("opaque/.wh..wh..opq", ""),
        Entry::file("kept/.wh.old", ""),
        Entry::file("kept/.wh.never-was", ""),
        Entry::file(".wh.gone", ""),
        // A link that became a directory, as overlayfs writes it: what the link led to stays.
        Entry::dir("turned"),
        Entry::file("turned/.wh..wh..opq", ""),
        Entry::file("turned/new", ""),
        // What aufs left.
        Entry::dir(".wh..wh.plnk"),
        Entry::file(".wh..wh.plnk/1.2", ""),
        Entry::file(".wh..wh.aufs", ""),
    ]);
    let root = unpacked(&scratch, vec![lower, upper]);
    let expected = ["kept", "opaque", "opaque/new", "replaced", "target", "target/stays", "turned", "turned/new"];
    assert_eq!(names(&root), expected);
    assert_eq!(fs::read_to_string(root.join("replaced")).unwrap(), "new");
    assert!(fs::symlink_metadata(root.join("turned")).unwrap().is_dir());
}

#[test]
fn members_keep_what_the_layer_says_of_them() {
    let scratch = Scratch::new();
    let long = format!("{0}/{0}/{0}", "n".repeat(120));
    let layer = plain(&[
        Entry::dir("read-only").mode(0o555),
        Entry::file("read-only/file", "x").mode(0o400),
        Entry::file("su", "").mode(0o4755),
        Entry::file("others-su", "").mode(0o6755).owner(7, 8),
        Entry::dir("sticky").mode(0o1777).owner(7, 8),
        Entry::file("one", "content"),
        Entry::hard_link("two", "./one"),
        Entry::symlink("three", "no/where"),
        Entry::hard_link("four", "/three"),
        Entry::new(EntryType::Fifo, "fifo"),
        Entry::file("short", "pax").record("path", "pax/name").record("mtime", "1500000000.5"),
        Entry::file(&long, "long"),
        Entry::symlink("to-long", &long),
        Entry { mtime: 5, ..Entry::dir("last") },
        Entry::file("last/file", ""),
        Entry::file("attributed", "")
            .record("SCHILY.xattr.user.colour", "a\nb")
            .record("SCHILY.xattr.trusted.overlay.opaque", "y"),
    ]);
    let root = unpacked(&scratch, vec![layer]);
    let meta = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    let mode = |name: &str| meta(name).mode() & 0o7777;
    assert_eq!(mode("su"), 0o4755);
    assert_eq!(mode("sticky"), 0o1777);
    assert_eq!(mode("read-only/file"), 0o400);
    if is_root() {
        assert_eq!((mode("read-only"), mode("others-su")), (0o555, 0o6755));
        assert_eq!((meta("sticky").uid(), meta("sticky").gid()), (7, 8));
    } else {
        // It can be removed by its owner, and nobody's set-id bits become the caller's.
        assert_eq!((mode("read-only"), mode("others-su")), (0o755, 0o755));
        assert_eq!(meta("sticky").uid(), nix::unistd::geteuid().as_raw());
    }
    assert_eq!(meta("one").ino(), meta("two").ino());
    assert_eq!(meta("three").ino(), meta("four").ino());
    assert_eq!(meta("one").mtime(), 1_000_000_000);
    assert_eq!(meta("last").mtime(), 5);
    assert_eq!((meta("pax/name").mtime(), meta("pax/name").mtime_nsec()), (1_500_000_000, 500_000_000));
    assert_eq!(fs::read_to_string(root.join("to-long")).unwrap(), "long");
    assert!(meta("fifo").file_type().is_fifo());
    let mut value = [0; 16];
    if let Ok(length) = rustix::fs::getxattr(root.join("attributed"), "user.colour", &mut value) {
        assert_eq!(&value[..length], b"a\nb");
    }
    assert!(rustix::fs::getxattr(root.join("attributed"), "trusted.overlay.opaque", &mut value).is_err());
}

/// A file capability: cap_net_bind_service=ep, as VFS_CAP_REVISION_2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn devices_and_file_capabilities_are_roots_alone() {
    let scratch = Scratch::new();
    let layer = plain(&[
        Entry::device("null", 1, 3),
        Entry::file("ping", "").owner(0, 9).record("SCHILY.xattr.security.capability", CAPABILITY),
    ]);
    let image = Builder::new(vec![layer]).write(Form::LayoutTar, scratch.path());
    let root = scratch.path().join("root");
    let skipped = Image::open(&image).unwrap().unpack(&root, Ownership::of_caller()).unwrap();
    let mut value = [0; 64];
    let capability = rustix::fs::getxattr(root.join("ping"), "security.capability", &mut value);
    if Ownership::of_caller() == Ownership::AsInTheLayer {
        assert!(fs::symlink_metadata(root.join("null")).unwrap().file_type().is_char_device());
        assert_eq!(&value[..capability.unwrap()], CAPABILITY);
        assert!(skipped.is_empty());
    } else {
        assert_eq!(names(&root), ["ping"]);
        assert!(capability.is_err());
        assert_eq!(skipped, [PathBuf::from("null")]);
    }
}

/// What comes of a hostile image.
enum Ends {
    /// In an error with these words.
    Refused(&'static str),
    /// In a tree, all of it inside.
    Inside,
}
use Ends::{Inside, Refused};

/// A directory with a victim: what must not change, beside the tree and wherever absolute names lead.
struct Arena {
    scratch: Scratch,
    before: BTreeMap<String, String>,
}

impl Arena {
    fn new() -> Arena {
        let scratch = Scratch::new();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("marker"), "untouched").unwrap();
        fs::create_dir(scratch.path().join("images")).unwrap();
        let before = listing(&outside);
        Arena { scratch, before }
    }

    fn outside(&self) -> String {
        self.scratch.path().join("outside").display().to_string()
    }

    /// Unpacks and looks around.
    fn check(&self, what: &str, image: &Path, ends: Ends) {
        let root = self.scratch.path().join("root");
        let result = unpack(image, self.scratch.path());
        assert_eq!(listing(&self.scratch.path().join("outside")), self.before, "{what}: outside was changed");
        let beside: Vec<_> =
            fs::read_dir(self.scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let strangers: Vec<_> =
            beside.iter().filter(|name| *name != "outside" && *name != "images" && *name != "root").collect();
        assert!(strangers.is_empty(), "{what}: {strangers:?}");
        match (ends, result) {
            (Inside, Ok(_)) => {}
            (Inside, Err(error)) => panic!("{what}: {error:#}"),
            (Refused(why), Ok(_)) => panic!("{what}: not refused, expected {why:?}: {:?}", listing(&root)),
            (Refused(why), Err(error)) => {
                let error = format!("{error:#}");
                assert!(error.contains(why), "{what}: expected {why:?} in: {error}");
                assert!(error.contains(&image.display().to_string()), "{what}: {error}");
                assert!(!root.exists(), "{what}: something was left behind");
            }
        }
    }

    fn layers(what: &str, ends: Ends, layers: impl FnOnce(&str) -> Vec<Vec<Entry>>) {
        let arena = Arena::new();
        let layers = layers(&arena.outside()).iter().map(|entries| plain(entries)).collect();
        let image = Builder::new(layers).write(Form::LayoutTar, &arena.scratch.path().join("images"));
        arena.check(what, &image, ends);
    }

    fn image(what: &str, ends: Ends, form: Form, change: impl FnOnce(&mut Builder)) {
        let arena = Arena::new();
        let mut builder = Builder::new(vec![Layer::gzip(tar(&[Entry::file("f", "content")]))]);
        change(&mut builder);
        let image = builder.write(form, &arena.scratch.path().join("images"));
        arena.check(what, &image, ends);
    }
}

#[test]
fn s25_no_name_leads_out() {
    let one = |name: &str| vec![vec![Entry::file(name, "evil")]];
    let out = Refused("leads out of the image");
    Arena::layers("dots", out, |_| one("../outside/evil"));
    Arena::layers("dots in the middle", Refused("leads out"), |_| one("a/../../outside/evil"));
    Arena::layers("dots that stay", Refused("leads out"), |_| one("a/../b"));
    Arena::layers("dots after a slash", Refused("leads out"), |_| one("/../outside/evil"));
    Arena::layers("absolute", Inside, |outside| one(&format!("{outside}/evil")));
    Arena::layers("absolute over the marker", Inside, |outside| one(&format!("{outside}/marker")));
    Arena::layers("dots in an extended header", Refused("leads out"), |_| {
        vec![vec![Entry::file("f", "").record("path", "../outside/evil")]]
    });
    Arena::layers("dots in a long name", Refused("leads out"), |_| {
        one(&format!("{}../outside/evil", "../".repeat(40)))
    });
    Arena::layers("NUL in a name", Refused("NUL"), |_| vec![vec![Entry::file("f", "").record("path", "a\0b")]]);
    Arena::layers("a name of 5000 bytes", Refused("more than 4097"), |_| one(&"a/".repeat(2500)));
    Arena::layers("such a name in an extended header", Refused("more than 4096"), |_| {
        vec![vec![Entry::file("f", "").record("path", "a/".repeat(2500))]]
    });
    Arena::layers("a component that is too long", Refused("File name too long"), |_| one(&"a".repeat(300)));
    Arena::layers("the root is replaced", Refused("replace the root"), |outside| {
        vec![vec![Entry::symlink("./", outside)]]
    });
    Arena::layers("a file as a directory", Refused("Not a directory"), |_| {
        vec![vec![Entry::file("f", ""), Entry::file("f/x", "")]]
    });
}

#[test]
fn s25_no_symbolic_link_leads_out() {
    let evil = || Entry::file("out/evil", "evil");
    Arena::layers("absolute link", Inside, |outside| vec![vec![Entry::symlink("out", outside), evil()]]);
    Arena::layers("relative link", Inside, |_| vec![vec![Entry::symlink("out", "../outside"), evil()]]);
    Arena::layers("link of a lower layer", Inside, |outside| vec![vec![Entry::symlink("out", outside)], vec![evil()]]);
    Arena::layers("chain of links", Inside, |_| {
        vec![vec![Entry::symlink("out", "a/b"), Entry::symlink("a/b", "c/../../../outside"), Entry::dir("a/c"), evil()]]
    });
    Arena::layers("link as a file", Inside, |outside| {
        vec![vec![Entry::symlink("f", format!("{outside}/marker")), Entry::file("f", "evil")]]
    });
    Arena::layers("link as a file of a lower layer", Inside, |outside| {
        vec![vec![Entry::symlink("f", format!("{outside}/marker"))], vec![Entry::file("f", "evil").mode(0o777)]]
    });
    Arena::layers("link as a directory", Inside, |outside| {
        vec![vec![Entry::symlink("out", outside), Entry::dir("out").mode(0o777), evil()]]
    });
    Arena::layers("link that is replaced by another", Inside, |outside| {
        vec![vec![Entry::symlink("out", "nowhere"), Entry::symlink("out", outside), Entry::symlink("out/link", "x")]]
    });
    Arena::layers("directory that becomes a link", Inside, |outside| {
        vec![vec![Entry::dir("out").mode(0o700), Entry::file("out/x", ""), Entry::symlink("out", outside)]]
    });
    Arena::layers("links in a circle", Refused("Too many levels"), |_| {
        vec![vec![Entry::symlink("a", "b"), Entry::symlink("b", "a"), Entry::file("a/x", "")]]
    });
    Arena::layers("a FIFO, then a file", Inside, |_| {
        vec![vec![Entry::new(EntryType::Fifo, "f"), Entry::file("f", "evil")]]
    });
    Arena::layers("a device, then a file", Inside, |_| vec![vec![Entry::device("f", 1, 3), Entry::file("f", "evil")]]);
    Arena::layers("magic link", Inside, |outside| {
        vec![vec![Entry::symlink("out", format!("/proc/self/root{outside}")), evil()]]
    });
}

#[test]
fn s25_no_hard_link_leads_out() {
    Arena::layers("dots", Refused("leads out"), |_| vec![vec![Entry::hard_link("f", "../outside/marker")]]);
    Arena::layers("absolute", Refused("No such file"), |outside| {
        vec![vec![Entry::hard_link("f", format!("{outside}/marker"))]]
    });
    Arena::layers("through a link", Refused("No such file"), |outside| {
        vec![vec![Entry::symlink("out", outside), Entry::hard_link("f", "out/marker")]]
    });
    Arena::layers("dots in an extended header", Refused("leads out"), |_| {
        vec![vec![Entry::hard_link("f", "x").record("linkpath", "../outside/marker")]]
    });
    Arena::layers("to a link that leads out, then written to", Inside, |outside| {
        let link = Entry::symlink("l", format!("{outside}/marker"));
        vec![vec![link, Entry::hard_link("f", "l"), Entry::file("f", "evil"), Entry::file("l", "evil")]]
    });
    Arena::layers("to a directory", Refused("that is a directory"), |_| {
        vec![vec![Entry::dir("d"), Entry::hard_link("f", "d")]]
    });
    Arena::layers("to itself", Refused("No such file"), |_| vec![vec![Entry::hard_link("f", "f")]]);
    Arena::layers("to what it replaces", Refused("No such file"), |_| {
        vec![vec![Entry::file("d/f", ""), Entry::hard_link("d", "d/f")]]
    });
    Arena::layers("to nothing", Refused(""), |_| vec![vec![Entry::hard_link("f", "")]]);
    Arena::layers("to a whiteout", Refused("no file of the image"), |_| vec![vec![Entry::hard_link("f", ".wh.f")]]);
}

#[test]
fn s25_no_whiteout_leads_out() {
    let lower = |outside: &str| vec![Entry::symlink("out", outside), Entry::file("f", "")];
    let hide = |name: &'static str| move |outside: &str| vec![lower(outside), vec![Entry::file(name, "")]];
    Arena::layers("dots", Refused("leads out"), hide("../.wh.outside"));
    Arena::layers("of the parent", Refused("hides no name"), hide(".wh..."));
    Arena::layers("of the directory", Refused("hides no name"), hide(".wh.."));
    Arena::layers("of nothing", Refused("hides no name"), hide(".wh."));
    Arena::layers("through a link", Inside, hide("out/.wh.marker"));
    Arena::layers("of all, through a link", Inside, hide("out/.wh..wh..opq"));
    Arena::layers("of a link", Inside, hide(".wh.out"));
    Arena::layers("of the root", Inside, hide(".wh..wh..opq"));
    Arena::layers("as a directory", Refused("they are no directories"), hide(".wh.d/f"));
    Arena::layers("of a tree with links", Inside, |outside| {
        vec![vec![Entry::dir("d"), Entry::symlink("d/out", outside)], vec![Entry::file(".wh.d", "")]]
    });
}

#[test]
fn s25_what_is_no_archive_or_no_whole_one_is_refused_before_anything_is_written() {
    let layer = |packed: &[u8], tar: &[u8]| {
        let mut layer = Layer::plain(packed.to_vec());
        layer.diff_id = format!("sha256:{}", hex(tar));
        layer
    };
    let whole = tar(&[Entry::file("f", vec![b'x'; 5000])]);
    for (what, packed, why) in [
        ("tar cut off", whole[..2000].to_vec(), "ends within a member"),
        ("gzip cut off", builder::gzip(&whole)[..40].to_vec(), "layer sha256:"),
        ("zstd cut off", builder::zstd(&whole)[..20].to_vec(), "layer sha256:"),
        ("bzip2", b"BZh91AY&SY".to_vec(), "compressed by bzip2"),
        ("text", b"hello".repeat(200), "no tar"),
    ] {
        Arena::image(what, Refused(why), Form::LayoutTar, |image| image.layers = vec![layer(&packed, &whole)]);
    }
    let one = |entry: Entry| move |_: &str| vec![vec![entry]];
    Arena::layers("a size without data", Refused("ends within a member"), one(Entry::file("f", "x").sized(1 << 40)));
    Arena::layers("the greatest size", Refused(""), one(Entry::file("f", "x").sized(u64::MAX)));
    Arena::layers("unknown type", Refused("type 'Z' is unknown"), one(Entry::new(EntryType::new(b'Z'), "f")));
    Arena::layers("sparse", Refused("sparse"), one(Entry::new(EntryType::GNUSparse, "f")));
    Arena::layers(
        "nobody's user",
        Refused("uid 4294967295 is none"),
        one(Entry::file("f", "").owner(4_294_967_295, 0)),
    );
    Arena::layers(
        "an attribute too long",
        Refused(""),
        one(Entry::file("f", "").record("SCHILY.xattr.user.x", vec![0; 2 << 20])),
    );
    Arena::image(
        "other content than the configuration's",
        Refused("damaged, or of another image"),
        Form::OldDocker,
        |image| {
            image.layers[0].diff_id = format!("sha256:{}", "0".repeat(64));
        },
    );
    Arena::image("configuration of 5 MiB", Refused("more than 4194304 are not read"), Form::LayoutTar, |image| {
        image.change_config = |config| config["x"] = " ".repeat(5 << 20).into();
    });
    Arena::image("configuration that is deep", Inside, Form::LayoutTar, |image| {
        image.change_config = |config| {
            let mut deep = json!([]);
            (0..1000).for_each(|_| deep = json!([deep.take()]));
            config["x"] = deep;
        };
    });
}

#[test]
fn s25_a_manifest_that_lies_is_refused() {
    let manifest = |what: &str, why: &'static str, change: fn(&mut Value)| {
        for form in [Form::Directory, Form::LayoutTar] {
            Arena::image(what, Refused(why), form, |image| image.change_manifest = change);
        }
    };
    let index = |what: &str, why: &'static str, change: fn(&mut Value)| {
        Arena::image(what, Refused(why), Form::Directory, |image| image.change_index = change);
    };
    manifest("another size", "the manifest says 7", |m| m["layers"][0]["size"] = 7.into());
    manifest("no such blob", "the image is not complete", |m| {
        m["layers"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into()
    });
    manifest("slashes in a digest", "is no digest", |m| {
        m["layers"][0]["digest"] = format!("sha256:{}{}", "../".repeat(20), "aaaa").into();
    });
    manifest("unknown algorithm", "\"md5\" is not supported", |m| m["layers"][0]["digest"] = "md5:00".into());
    manifest("encrypted", "skopeo copy --decryption-key", |m| {
        m["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".into();
    });
    manifest("foreign", "but elsewhere (https://example.com/layer)", |m| {
        m["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
        m["layers"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
        m["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    });
    manifest("no layer", "no layer of files", |m| m["layers"][0]["mediaType"] = "text/plain".into());
    manifest("no image", "it is no image", |m| m["config"]["mediaType"] = "application/vnd.example".into());
    manifest("too few layers", "do not belong together", |m| m["layers"] = json!([]));
    manifest("another type", "invalid type", |m| m["layers"] = 7.into());
    index("no manifest", "it has no image", |i| i["manifests"] = json!([]));
    index("another version", "missing field `manifests`", |i| *i = json!({ "schemaVersion": 1 }));
    index("manifest as an index", "missing field `manifests`", |i| {
        i["manifests"][0]["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    });
}

#[test]
fn s25_files_of_a_layout_are_in_it() {
    let changed = |what: &str, why: &'static str, change: fn(&Arena, &Path, PathBuf)| {
        let arena = Arena::new();
        let builder = Builder::new(vec![plain(&[Entry::file("f", "content")])]);
        let image = builder.write(Form::Directory, &arena.scratch.path().join("images"));
        let blob = image.join(format!("blobs/sha256/{}", hex(&builder.layers[0].packed)));
        fs::remove_file(&blob).unwrap();
        change(&arena, &image, blob);
        arena.check(what, &image, Refused(why));
    };
    changed("a blob that is a link out", "the image is not complete", |arena, _, blob| {
        symlink(format!("{}/marker", arena.outside()), blob).unwrap();
    });
    changed("a blob that is a FIFO", "it is no file", |_, _, blob| {
        nix::unistd::mkfifo(&blob, nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    changed("a blob that is a directory", "it is no file", |_, _, blob| fs::create_dir(blob).unwrap());
    changed("a blob with other content", "its digest is sha256:", |_, _, blob| {
        let other = tar(&[Entry::file("f", "CONTENT")]);
        fs::write(blob, other).unwrap();
    });
    changed("no layout", "no file \"oci-layout\"", |_, image, _| fs::remove_file(image.join("oci-layout")).unwrap());
    changed("nothing that is known", "neither index.json", |_, image, _| {
        fs::remove_file(image.join("index.json")).unwrap()
    });
    changed("an index of 5 MiB", "more than 4194304", |_, image, _| {
        fs::write(image.join("index.json"), vec![b' '; 5 << 20]).unwrap();
    });
    changed("an index that is no JSON", "parse \"index.json\"", |_, image, _| {
        fs::write(image.join("index.json"), [0xff, 0, 1]).unwrap();
    });
}

#[test]
fn s25_files_of_a_saved_image_are_in_it() {
    let saved = |what: &str, why: &'static str, manifest: Value, more: Vec<Entry>| {
        let arena = Arena::new();
        let image = arena.scratch.path().join("images/saved");
        let mut entries = vec![Entry::file("manifest.json", manifest.to_string())];
        entries.extend(more);
        fs::write(&image, tar(&entries)).unwrap();
        arena.check(what, &image, Refused(why));
    };
    let config = r#"{"rootfs":{"diff_ids":[]}}"#;
    let one = |config: &str, layers: &[&str]| json!([{ "Config": config, "RepoTags": null, "Layers": layers }]);
    saved("configuration elsewhere", "no file \"/etc/passwd\"", one("/etc/passwd", &[]), vec![]);
    saved("layer elsewhere", "is not in it", one("c", &["../../outside/marker"]), vec![Entry::file("c", config)]);
    saved(
        "links in a circle",
        "more than 8 links",
        one("c", &["l"]),
        vec![Entry::file("c", config), Entry::symlink("l", "l")],
    );
    saved("no image", "it has no image", json!([]), vec![]);
    saved(
        "two images",
        "several images",
        json!([{ "Config": "c", "RepoTags": ["a:1"], "Layers": [] }, { "Config": "c", "RepoTags": ["b:1"], "Layers": [] }]),
        vec![],
    );
    saved(
        "another digest",
        "the digest of",
        one(&format!("{}.json", "0".repeat(64)), &[]),
        vec![Entry::file(format!("{}.json", "0".repeat(64)), config)],
    );

    let arena = Arena::new();
    let image = arena.scratch.path().join("images/other");
    for (bytes, why) in [
        (b"".to_vec(), "no tar with files"),
        (b"rubbish".repeat(1000), "no tar"),
        (builder::gzip(&tar(&[Entry::file("manifest.json", "[]")])), "the whole file is compressed (gzip)"),
        (tar(&[Entry::file("bin/sh", ""), Entry::file("etc/passwd", "")]), "it has \"bin/sh\", \"etc/passwd\""),
        (tar(&[Entry::file("manifest.json", "[]").sized(1 << 40)]), "ends within a member"),
    ] {
        fs::write(&image, bytes).unwrap();
        arena.check(why, &image, Refused(why));
    }
}

#[test]
fn s25_a_tree_that_is_deeper_than_a_path_is_removed_when_its_layer_fails() {
    // Each of a thousand levels is a descriptor, and a login session begins with 1024.
    let hard = getrlimit(Resource::RLIMIT_NOFILE).unwrap().1;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    Arena::layers("deep", Refused("No such file"), |_| {
        let deep = "d/".repeat(1000);
        let names = (0..4).map(|hop| {
            Entry::symlink(format!("s{hop}"), if hop == 0 { deep.clone() } else { format!("s{}/{deep}", hop - 1) })
        });
        let dirs = (0..4).map(|hop| Entry::dir(if hop == 0 { deep.clone() } else { format!("s{}/{deep}", hop - 1) }));
        let both = dirs.zip(names).flat_map(|(dir, name)| [dir, name]);
        vec![both.chain([Entry::hard_link("f", "nothing")]).collect()]
    });
}

#[test]
fn a_failed_image_names_the_image_the_layer_and_the_member() {
    let scratch = Scratch::new();
    let layer = plain(&[Entry::file("fine", ""), Entry::file("../evil", "")]);
    let digest = hex(&layer.packed);
    let image = Builder::new(vec![layer]).write(Form::Directory, scratch.path());
    let error = format!("{:#}", unpack(&image, scratch.path()).unwrap_err());
    let expected = format!(
        "image {}: layer sha256:{digest}: member \"../evil\": its name leads out of the image",
        image.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn of_several_images_one_is_named() {
    let scratch = Scratch::new();
    let mut image = Builder::new(vec![]);
    image.change_index = |index| {
        let mut other = index["manifests"][0].clone();
        other["annotations"]["org.opencontainers.image.ref.name"] = "app:2".into();
        other["digest"] = format!("sha256:{}", "0".repeat(64)).into();
        index["manifests"].as_array_mut().unwrap().push(other);
    };
    let path = image.write(Form::Directory, scratch.path());
    let error = |argument: &str| format!("{:#}", Image::open(Path::new(argument)).unwrap_err());
    let path = path.display().to_string();
    assert!(
        error(&path).contains("add the name of one to the path, after a colon: \"app:1\", \"app:2\""),
        "{}",
        error(&path)
    );
    assert!(error(&format!("{path}:3")).contains("no image \"3\": it has \"app:1\", \"app:2\""));
    assert!(Image::open(Path::new(&format!("{path}:app:1"))).is_ok());
    assert!(error(&format!("{path}-not")).contains("skopeo copy"));
}

/// A shell, a user `app` and an ENTRYPOINT that ends with 0 on its stop signal, SIGQUIT.
fn busybox() -> Builder {
    let program = fs::read(bundles().join("busybox/rootfs/bin/busybox")).unwrap();
    let mut lower = vec![
        Entry::dir("bin"),
        Entry::file("bin/busybox", program).mode(0o755),
        Entry::dir("etc"),
        Entry::file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/:/bin/sh\n"),
        Entry::file("gone", ""),
    ];
    lower.extend(["sh", "sleep", "id", "touch"].map(|name| Entry::symlink(format!("bin/{name}"), "busybox")));
    let upper = [Entry::file(".wh.gone", ""), Entry::file("there", "")];
    let mut image = Builder::new(vec![Layer::gzip(tar(&lower)), Layer::zstd(tar(&upper))]);
    image.process = json!({
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["trap 'exit 0' QUIT; while :; do sleep 1; done"],
        "Env": ["FOO=image", "BAR=image"],
        "User": "app",
        "WorkingDir": "/srv/work",
        "StopSignal": "SIGQUIT",
        "Labels": { "bookend/pre-stop": "/bin/touch /evil" },
    });
    image
}

/// Rehearses a Pod of one container `web` with these lines, and sees that nothing is left.
fn rehearse(scratch: &Scratch, lines: &str, args: &[&str]) -> Output {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let pod = scratch.path().join("pod.yaml");
    fs::write(&pod, format!("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: web\n{lines}")).unwrap();
    let tmp = scratch.path().join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    let mut command = Command::new(bookend());
    command
        .arg("test")
        .arg(pod)
        .args(args)
        .args(["--run-for", "100ms"])
        .env("XDG_RUNTIME_DIR", &tmp)
        .env("TMPDIR", &tmp);
    let output = finish(command, scratch);
    let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let left: Vec<_> = left.iter().filter(|name| name.to_str().unwrap().starts_with("bookend-test")).collect();
    assert!(left.is_empty(), "left behind: {left:?}\n{}", output.stderr);
    output
}

/// A postStart that succeeds where all of this holds.
fn where_it_holds(conditions: &[&str]) -> String {
    format!("lifecycle:\n  postStart: {{exec: {{command: [sh, -ec, '{}']}}}}\n", conditions.join("; "))
}

#[test]
fn s_23_a_pod_is_rehearsed_as_its_image_says() {
    for form in [Form::Directory, Form::OldDocker] {
        let scratch = Scratch::new();
        let image = busybox().write(form, scratch.path());
        let holds = where_it_holds(&[
            "test $(id -u):$(id -g) = 1000:1001",
            "test $FOO-$BAR = image-pod",
            "test $PWD = /srv/work",
            "test ! -e /gone",
            "test -e /there",
        ]);
        let pod = format!("env: [{{name: BAR, value: pod}}]\n{holds}");
        let output = rehearse(&scratch, &pod, &["--image", image.to_str().unwrap()]).ok();
        // Its label is no hook, its stop signal is the one that is sent (S15, S-23).
        assert!(output.stdout.contains("SIGQUIT") && output.stdout.contains("exit code 0"), "{}", output.stdout);
        assert!(!output.stdout.contains("preStop"), "{}", output.stdout);
    }
}

#[test]
fn s_23_a_pod_has_the_last_word_over_its_image() {
    let scratch = Scratch::new();
    let image = busybox().write(Form::LayoutTar, scratch.path());
    let image = format!("web={}:app:1", image.display());
    let holds = where_it_holds(&["test $(id -u) = 7", "test $PWD = /etc", "test -w /there || test $(id -u) != 0"]);
    let command = "args: [\"trap 'exit 3' TERM; while :; do sleep 1; done\"]";
    let pod = format!("{command}\nworkingDir: /etc\nsecurityContext: {{runAsUser: 7}}\n{holds}  stopSignal: SIGTERM\n");
    let output = rehearse(&scratch, &pod, &["--image", &image, "--expect", "exit=3"]).ok();
    assert!(!output.stdout.contains("SIGQUIT"), "{}", output.stdout);
}

#[test]
fn s25_an_image_that_cannot_be_used_is_bad_input_and_leaves_nothing() {
    let scratch = Scratch::new();
    let hooks = where_it_holds(&["true"]);
    let refused = |image: &Path, why: &str| {
        rehearse(&scratch, &hooks, &["--image", image.to_str().unwrap()]).fails(2).says(why);
    };
    let evil = scratch.path().join("evil");
    fs::create_dir(&evil).unwrap();
    refused(&Builder::new(vec![plain(&[Entry::file("../evil", "")])]).write(Form::Directory, &evil), "leads out");
    let nobody = scratch.path().join("nobody");
    fs::create_dir(&nobody).unwrap();
    let mut stranger = busybox();
    stranger.process["User"] = json!("stranger");
    refused(&stranger.write(Form::Directory, &nobody), "there is no user \"stranger\" in its /etc/passwd");
    let nothing = scratch.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let image = Builder::new(vec![]).write(Form::Directory, &nothing);
    refused(&image, "neither ENTRYPOINT nor CMD");
    refused(&scratch.path().join("none"), "there is no such file or directory");
    let both = ["--image", image.to_str().unwrap(), "--rootfs", "/"];
    rehearse(&scratch, &hooks, &both).fails(2).says("one of --bundle, --rootfs and --image");
    rehearse(&scratch, &hooks, &["--image", "other=/nowhere", "--image", image.to_str().unwrap()]).fails(2);
}
