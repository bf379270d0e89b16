//! The filmstrip: pictures in their colours at their times, upright and in shape; the window asks for what is in view and
//! frees what is not. Real files, decoder and window; nothing sleeps.

use std::cell::Cell;

use egui_kittest::kittest::Queryable as _;
use modalens::clip::FrameEdit;
use modalens::command::Command;
use modalens::film::{FilmView, slot_secs};
use modalens::media::{Thumbnail, Thumbnails};
use modalens::settings::View;
use modalens::state::{Film, Media, State};
use modalens::time::Span;

use crate::media::Clips;
use crate::ui::Window;

/// Ten seconds, each of its own brightness: 16 + 20 × the second, in gray.
const SECONDS: &str = "-f lavfi -i color=black:size=64x48:rate=10:duration=10,format=gray,geq=lum=16+20*floor(T)";

/// Red, then blue, a second each.
const RED_BLUE: &str = "-f lavfi -i color=red:size=160x90:rate=25:duration=1 -f lavfi -i \
                        color=blue:size=160x90:rate=25:duration=1 -filter_complex [0][1]concat -c:v libx264 \
                        -pix_fmt yuv420p -g 10";

const NEVER: &dyn Fn() -> bool = &|| false;

fn middle(image: &[u8], width: usize, height: usize) -> [u8; 3] {
    let at = (height / 2 * width + width / 2) * 3;
    [image[at], image[at + 1], image[at + 2]]
}

fn gray(thumbnail: &Thumbnail) -> u8 {
    middle(&thumbnail.image.data, thumbnail.image.width, thumbnail.image.height)[1]
}

fn is_red([r, g, b]: [u8; 3]) -> bool {
    r > 200 && g < 60 && b < 60
}

fn is_blue([r, g, b]: [u8; 3]) -> bool {
    b > 200 && r < 60 && g < 60
}

/// The strip is complete for a view whose slots are finer than `spacing_secs`.
fn complete(state: &State, spacing_secs: f64) -> bool {
    let film = &state.film;
    film.view.is_some_and(|v| v.spacing_secs() <= spacing_secs) && film.missing().is_empty()
}

fn zoom(window: &mut Window, timeline: Option<Span>) {
    let view = View { timeline, ..window.state().view };
    window.harness.state_mut().perform(&Command::SetView(Box::new(view)));
}

#[test]
fn the_window_shows_each_time_in_its_colour_and_finer_ones_close_by() {
    let mut w = Window::open(Some(("colours.mp4", RED_BLUE)), Err("none".into()));
    w.until("the strip", |state| complete(state, 1.0) && state.film.pictures().len() > 5);
    assert!(w.has("Filmstrip: The video's pictures over time"));
    let check = |state: &State| {
        let spacing = state.film.view.unwrap().spacing_secs();
        let mut colours = [0; 2];
        for slot in state.film.view.unwrap().slots() {
            let (picture, own) = state.film.at(slot).unwrap();
            assert!(own && picture.serves(spacing), "{slot}");
            // Past the end the last picture stays.
            let shown = slot_secs(slot).min(1.96);
            assert!(picture.pts_secs <= shown + 1e-6 && shown - picture.pts_secs <= spacing / 2.0 + 0.04);
            assert_eq!((picture.width, picture.height), (128, 72));
            let colour = middle(&picture.rgb, picture.width, picture.height);
            let late = picture.pts_secs > 0.99;
            assert!(if late { is_blue(colour) } else { is_red(colour) }, "{colour:?} at {}", picture.pts_secs);
            colours[usize::from(late)] += 1;
        }
        colours
    };
    let far = w.state().film.view.unwrap();
    let colours = check(w.state());
    assert!(colours[0] > 2 && colours[1] > 2, "{colours:?}");
    zoom(&mut w, Some(Span::new(0.9, 1.1)));
    w.until("the strip close by", |state| complete(state, far.spacing_secs() / 2.0));
    let near = w.state().film.view.unwrap();
    assert!(near.level < far.level && slot_secs(near.slots()[0]) > 0.8);
    let colours = check(w.state());
    assert!(colours[0] > 1 && colours[1] > 1, "{colours:?}");
}

#[test]
fn the_strip_on_screen_has_the_pictures_colours_and_frees_its_textures() {
    let mut w = Window::open(Some(("colours.mp4", RED_BLUE)), Err("none".into()));
    w.until("the strip", |state| complete(state, 1.0) && state.film.pictures().len() > 5);
    w.harness.run_steps(2);
    let strip = w.harness.get_by_label("Filmstrip: The video's pictures over time").rect();
    let image = w.harness.render().unwrap();
    let at = |share: f32| {
        let (x, y) = (strip.left() + share * strip.width(), strip.top() + strip.height() * 0.75);
        let [r, g, b, _] = image.get_pixel(x as u32, y as u32).0;
        [r, g, b]
    };
    assert!(is_red(at(0.1)) && is_red(at(0.4)), "{:?}", at(0.1));
    assert!(is_blue(at(0.6)) && is_blue(at(0.9)), "{:?}", at(0.9));

    // The one under the pointer is enlarged above the strip.
    let above = strip.center_top() + egui::vec2(strip.width() * 0.4, -50.0);
    assert!(!is_blue(pixel_at(&mut w, above)));
    w.harness.hover_at(strip.center() + egui::vec2(strip.width() * 0.4, 0.0));
    w.harness.run_steps(2);
    assert!(is_blue(pixel_at(&mut w, above)));

    // However many pictures were looked at, only those on screen are on the GPU, and those kept are bounded.
    let textures = |w: &Window| {
        let manager = w.harness.ctx.tex_manager();
        let manager = manager.read();
        manager.allocated().filter(|(_, meta)| meta.name == "filmstrip").count()
    };
    let first = textures(&w);
    assert!(first > 5);
    for i in 0..12 {
        let start = f64::from(i) * 0.15;
        zoom(&mut w, Some(Span::new(start, start + 0.15)));
        w.until("the strip close by", |state| complete(state, 0.05));
        w.harness.run_steps(2);
        assert!(textures(&w) <= first + 2, "{} textures", textures(&w));
    }
    assert!(w.state().film.pictures().len() <= Film::MOST);

    // What is done to the frames is not shown here, and the strip says so.
    w.harness.state_mut().perform(&Command::SetFrames(FrameEdit::Black));
    w.harness.run_steps(2);
    assert!(w.has("Filmstrip: The file's own pictures, unedited"));
}

fn pixel_at(w: &mut Window, at: egui::Pos2) -> [u8; 3] {
    let [r, g, b, _] = w.harness.render().unwrap().get_pixel(at.x as u32, at.y as u32).0;
    [r, g, b]
}

#[test]
fn without_a_picture_there_is_no_strip_and_another_clip_has_its_own() {
    let mut w = Window::open(Some(("tone.wav", "-f lavfi -i sine=frequency=440:duration=1")), Err("none".into()));
    w.until("the sound", |state| matches!(state.media, Media::Open { picture: false, .. }) && state.lanes.is_some());
    w.harness.run_steps(2);
    assert!(w.state().film.view.is_none() && !w.has("Filmstrip: The video's pictures over time"));
    let clip = crate::ui::make(w.files.path(), "colours.mp4", RED_BLUE);
    w.harness.state_mut().perform(&Command::Use(modalens::event::FileUse::Clip, vec![clip]));
    w.until("the strip", |state| complete(state, 1.0) && state.film.pictures().len() > 5);
    let next = crate::ui::make(w.files.path(), "green.mkv", "-f lavfi -i color=lime:size=90x160:rate=5:duration=2");
    w.harness.state_mut().perform(&Command::Use(modalens::event::FileUse::Clip, vec![next]));
    w.until("the next strip", |state| {
        state.title().as_deref() == Some("green.mkv") && complete(state, 1.0) && state.film.pictures().len() > 5
    });
    for picture in w.state().film.pictures() {
        let [r, g, b] = middle(&picture.rgb, picture.width, picture.height);
        assert!(g > 200 && r < 60 && b < 60, "{r} {g} {b}");
        assert!(picture.width < picture.height);
    }
}

#[test]
fn each_time_has_its_picture_however_far_key_frames_are_apart() {
    let clips = Clips::new();
    for (name, how) in [
        ("dense.mp4", "-c:v libx264 -qp 1 -g 5 -pix_fmt yuv420p"),
        ("one-key.mp4", "-c:v libx264 -qp 1 -bf 2 -g 1000 -sc_threshold 0 -pix_fmt yuv420p"),
        ("long-gop.mkv", "-c:v mpeg2video -q:v 1 -g 37 -bf 2 -pix_fmt yuv420p"),
        ("intra.avi", "-c:v mjpeg -q:v 1 -pix_fmt yuvj420p"),
    ] {
        let path = clips.make(name, &format!("{SECONDS} {how}"));
        let mut film = Thumbnails::open(&path).unwrap();
        for t in [0.0, 8.3, 4.5, 6.15, 2.5, 9.9, 1.0, 1.05, 3.75, 25.0] {
            let there = f64::min(t, 9.9);
            let exact = film.near(t, 0.0, NEVER).unwrap().unwrap();
            let expected = 16.0 + 20.0 * (there + 1e-9).floor();
            let shown = f64::from(gray(&exact));
            assert!((shown - expected).abs() < 6.0, "{name} at {t}: {shown}, not {expected}");
            assert!(
                exact.pts_secs <= there + 0.06 && there - exact.pts_secs < 0.16,
                "{name} at {t}: {}",
                exact.pts_secs
            );
            let near = film.near(t, 2.0, NEVER).unwrap().unwrap();
            assert!((t.min(there) - near.pts_secs).abs() <= 2.06 || t > 10.0, "{name} near {t}: {}", near.pts_secs);
        }
    }
}

#[test]
fn pictures_are_upright_in_shape_and_small() {
    let clips = Clips::new();
    let halves = "-f lavfi -i color=red:size=640x360:rate=5:duration=1,drawbox=x=320:w=320:h=360:color=blue:t=fill,";
    let plain = clips.make("plain.mp4", &format!("{halves}setsar=2 -c:v libx264 -pix_fmt yuv420p"));
    let turned = clips.make("turned.mov", &format!("-i {} -c copy -metadata:s:v:0 rotate=90", plain.display()));
    let of = |path| {
        let image = Thumbnails::open(path).unwrap().near(0.0, 0.0, NEVER).unwrap().unwrap().image;
        assert!(image.width <= Thumbnails::MOST_COLUMNS as usize && image.height <= Thumbnails::MOST_ROWS as usize);
        image
    };
    // 1280 × 360 in square pixels.
    let image = of(&plain);
    assert_eq!((image.width, image.height), (160, 45));
    let pixel = |image: &modalens::frame::RgbImage, x: usize, y: usize| {
        let at = (y * image.width + x) * 3;
        [image.data[at], image.data[at + 1], image.data[at + 2]]
    };
    assert!(is_red(pixel(&image, 20, 22)) && is_blue(pixel(&image, 140, 22)));
    let image = of(&turned);
    let shape = image.height as f64 / image.width as f64;
    assert!((shape - 1280.0 / 360.0).abs() < 0.2 && image.height == 72, "{} × {}", image.width, image.height);
    let ends = [pixel(&image, image.width / 2, 6), pixel(&image, image.width / 2, 66)];
    assert!(is_red(ends[0]) != is_red(ends[1]) && is_blue(ends[0]) != is_blue(ends[1]), "{ends:?}");
    // One pixel high, very wide: still a picture.
    let line = clips.make("line.png", "-f lavfi -i color=red:size=4000x2:rate=1 -frames:v 1");
    assert_eq!((of(&line).width, of(&line).height), (160, 1));
}

#[test]
fn what_is_no_longer_wanted_is_given_up_after_a_frame() {
    let clips = Clips::new();
    let path = clips.make("one-key.mp4", &format!("{SECONDS} -c:v libx264 -g 1000 -sc_threshold 0"));
    let mut film = Thumbnails::open(&path).unwrap();
    let asked = Cell::new(0);
    let soon = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    assert_eq!(film.near(9.0, 0.0, &soon).unwrap(), None);
    assert!(asked.get() <= 5, "asked {} times after it was stale", asked.get());
    // And goes on from there.
    let picture = film.near(9.0, 0.0, NEVER).unwrap().unwrap();
    assert!((picture.pts_secs - 9.0).abs() < 0.06, "{}", picture.pts_secs);
}

#[test]
fn noise_gives_small_pictures_or_none_or_an_error() {
    let clips = Clips::new();
    let good = clips.make("good.mp4", &format!("{SECONDS} -c:v libx264"));
    let bytes = std::fs::read(&good).unwrap();
    let garbage = clips.path("garbage.mp4");
    std::fs::write(&garbage, [7; 5000]).unwrap();
    assert!(Thumbnails::open(&garbage).is_err());
    // Its index is whole, and its pictures are noise.
    let start = bytes.windows(4).position(|w| w == b"mdat").unwrap() + 4;
    let end = bytes.windows(4).position(|w| w == b"moov").unwrap().max(start + 4) - 4;
    let mut noise = bytes.clone();
    let last = if end > start { end } else { noise.len() };
    for (i, byte) in noise[start..last].iter_mut().enumerate() {
        *byte = (i * 197 % 251) as u8;
    }
    let path = clips.path("noise.mp4");
    std::fs::write(&path, noise).unwrap();
    if let Ok(mut film) = Thumbnails::open(&path) {
        for slot in FilmView::of(Span::new(0.0, 10.0), 1.0).slots() {
            if let Ok(Some(Thumbnail { image, .. })) = film.near(slot_secs(slot), 0.5, NEVER) {
                assert_eq!((image.width, image.height, image.data.len()), (64, 48, 64 * 48 * 3));
            }
        }
    }
}
