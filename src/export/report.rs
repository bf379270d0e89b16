//! `report.html`: one case on one page that opens from disk without a network.
//! Knows nothing of how the answer came about.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::capture::{Share, ShareDetail};
use crate::event::{Answer, ModelInfo, Request};
use crate::export::overlay::Written;
use crate::export::{saw, write_whole};
use crate::fed::Fed;
use crate::provenance::{Kind, Source};

/// What lies beside a report.
pub struct Pictures<'a> {
    /// `overlay.mp4` and `overlay.png`.
    pub overlay: Option<&'a Written>,
    /// `model_saw.png`, and what it shows.
    pub saw: Option<&'a Fed>,
}

/// Writes the report beside the pictures that it shows.
pub fn report_file(
    request: &Request,
    answer: &Answer,
    model: &ModelInfo,
    pictures: &Pictures<'_>,
    path: &Path,
) -> Result<()> {
    let page = page(request, answer, model, pictures);
    write_whole(path, |file| Ok(file.write_all(page.as_bytes())?))
}

fn page(request: &Request, answer: &Answer, model: &ModelInfo, pictures: &Pictures<'_>) -> String {
    let mut body = String::new();
    let title = if request.prompt.question.is_empty() { "Modalens" } else { &request.prompt.question };
    put(&mut body, format_args!("<h1>{}</h1>", escape(title)));
    put(
        &mut body,
        format_args!(
            "<p class=badges><span>{}</span><span>{}</span><span>{}</span><span title='SHA-256 of the weights'>{}</span></p>",
            escape(&model.id),
            escape(&model.dtype),
            escape(&model.device),
            escape(model.sha256.get(..12).unwrap_or_default()),
        ),
    );
    if let Some(written) = pictures.overlay {
        // Small clips are shown larger by whole factors, so that the token grid can be read.
        let grow = (480 / written.size[1].max(1)).clamp(1, 4);
        let [width, height] = written.size.map(|n| n * grow);
        put(
            &mut body,
            format_args!(
                "<div class=film><video controls loop poster=overlay.png src=overlay.mp4 style='--w:{width};--h:{height}'>\
                 </video></div><p class=note>Attention share of the answer over picture and sound, mean over answer tokens, layers and \
                 heads. Bright cells took most; one scale for the whole clip, up to the 99th percentile of its cells. An \
                 attention share is not reliance: late visual attention can be a sink.</p>"
            ),
        );
    }
    put(&mut body, format_args!("<h2>Answer</h2><p class=answer id=answer>"));
    let strongest = answer.tokens.iter().map(|t| t.share.video.max(t.share.audio)).fold(1e-9, f64::max);
    for (k, token) in answer.tokens.iter().enumerate() {
        let Share { video, audio, text } = token.share;
        put(
            &mut body,
            format_args!(
                "<span tabindex=0 data-v={video:.5} data-a={audio:.5} data-t={text:.5} data-k={k} data-p={:.4} \
                 style='--v:{:.3};--a:{:.3}'>{}</span>",
                token.logprob,
                video / strongest,
                audio / strongest,
                escape(&visible(&token.text)),
            ),
        );
    }
    put(&mut body, format_args!("</p>"));
    bar(&mut body, &answer.share);
    let counts = counts(answer);
    put(
        &mut body,
        format_args!(
            "<table><tr><th></th><th class=v>V video</th><th class=a>A audio</th><th class=t>T text</th></tr>\
             <tr><td>attention share</td><td>{}</td><td>{}</td><td>{}</td></tr>\
             <tr><td>prompt tokens</td><td>{}</td><td>{}</td><td>{}</td></tr>\
             <tr><td>share ÷ share of tokens (AEI)</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td></tr></table>",
            percent(answer.share.video),
            percent(answer.share.audio),
            percent(answer.share.text),
            counts[0],
            counts[1],
            counts[2],
            answer.density.video,
            answer.density.audio,
            answer.density.text,
        ),
    );
    let ShareDetail { system, caption, context, question, special, answer: own } = answer.share_detail;
    put(&mut body, format_args!("<h2>Words</h2><p class=prompt>"));
    words(&mut body, answer);
    put(
        &mut body,
        format_args!(
            "</p><table><tr><th>text share by part</th><th>system</th><th>caption</th><th>question</th><th>context</th>\
             <th>special</th><th>answer</th></tr><tr><td></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr></table>",
            percent(system),
            percent(caption),
            percent(question),
            percent(context),
            percent(special),
            percent(own),
        ),
    );
    if let Some(fed) = pictures.saw {
        put(
            &mut body,
            format_args!(
                "<h2>What the model saw</h2><img src=model_saw.png alt='What the model was fed'><p class=note>{}, as the towers \
                 were fed them, with the mean attention of the answer on their cells.{}</p>",
                fed.summary(&answer.provenance),
                order(fed, answer)
            ),
        );
    }
    let t = &answer.timing;
    // One token has no pace.
    let pace = if answer.tokens_per_s > 0.0 { format!("{:.1}", answer.tokens_per_s) } else { "–".to_owned() };
    put(
        &mut body,
        format_args!(
            "<h2>Run</h2><table><tr><th>decode</th><th>vision</th><th>audio</th><th>prefill</th><th>first token</th>\
             <th>total</th><th>tokens/s</th></tr><tr><td>{:.0} ms</td><td>{:.0} ms</td><td>{:.0} ms</td><td>{:.0} ms</td>\
             <td>{:.0} ms</td><td>{:.0} ms</td><td>{pace}</td></tr></table>",
            t.decode, t.vision, t.audio, t.prefill, t.first_token, t.total
        ),
    );
    if let Some(clip) = &request.clip.video {
        put(&mut body, format_args!("<p class=note>Clip {}</p>", escape(&clip.display().to_string())));
    }
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>{}</title>\
         <meta name=viewport content='width=device-width'><style>{STYLE}</style></head><body>{body}\
         <script>{SCRIPT}</script></body></html>\n",
        escape(title)
    )
}

/// Prompt words shaded by their attention; media stand as one mark each.
fn words(body: &mut String, answer: &Answer) {
    let mean = answer.mean_attention();
    let prompt = &answer.provenance.tokens[..answer.prompt_tokens.min(answer.provenance.tokens.len())];
    let is_word = |s: &Source| matches!(s.kind(), Kind::Text);
    let strongest = prompt.iter().zip(&mean).filter(|(t, _)| is_word(&t.source)).map(|(_, w)| *w).fold(1e-12, f32::max);
    let mut last = None;
    for (token, weight) in prompt.iter().zip(&mean) {
        let kind = token.source.kind();
        match kind {
            Kind::Text => put(
                body,
                format_args!(
                    "<span style='--w:{:.3}' title='{}'>{}</span>",
                    weight / strongest,
                    percent(f64::from(*weight)),
                    escape(&visible(&token.text))
                ),
            ),
            Kind::Video | Kind::Audio if last != Some(kind) => {
                let (class, name) = if kind == Kind::Video { ("v", "video") } else { ("a", "audio") };
                put(body, format_args!("<span class='medium {class}'>{name}</span>"));
            }
            Kind::Video | Kind::Audio | Kind::Special => {}
        }
        last = Some(kind);
    }
}

fn bar(body: &mut String, share: &Share) {
    put(body, format_args!("<div class=bar id=bar>"));
    for (class, letter, value) in [("v", "V", share.video), ("a", "A", share.audio), ("t", "T", share.text)] {
        let width = value * 100.0;
        put(body, format_args!("<div class={class} style='width:{width:.2}%'>{letter} {}</div>", percent(value)));
    }
    put(body, format_args!("</div><p class=note id=which>mean over the answer; hover a token for its own</p>"));
}

/// Video, audio and all other prompt tokens.
fn counts(answer: &Answer) -> [usize; 3] {
    let mut counts = [0; 3];
    for token in answer.provenance.tokens.iter().take(answer.prompt_tokens) {
        counts[match token.source.kind() {
            Kind::Video => 0,
            Kind::Audio => 1,
            Kind::Text | Kind::Special => 2,
        }] += 1;
    }
    counts
}

fn put(body: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = body.write_fmt(text);
}

fn percent(x: f64) -> String {
    format!("{:.1} %", x * 100.0)
}

/// A token that is only space still has to be seen.
fn visible(text: &str) -> String {
    text.replace('\n', "⏎\n")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Which step is where in `model_saw.png`, and when.
fn order(fed: &Fed, answer: &Answer) -> String {
    let Some((video, grid)) = fed.videos.first().zip(answer.provenance.videos.first()) else { return String::new() };
    let drawn = saw::drawn_steps(video, grid);
    let times: Vec<String> = grid.steps.iter().take(drawn).map(|s| format!("{:.2}", s.pts_secs[0])).collect();
    let of = if drawn < grid.steps.len() { format!(" (the first {drawn})") } else { String::new() };
    format!(" Steps{of} from left to right and top to bottom, at {} s.", times.join(", "))
}

const STYLE: &str = "
:root{color-scheme:dark;--video:#56b4e9;--audio:#e69f00;--text:#009e73}
body{margin:2rem auto;max-width:1280px;padding:0 1.5rem;background:#14161a;color:#d8dce2;font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;font-weight:600}h2{font-size:1rem;font-weight:600;color:#98a0ac;margin:2rem 0 .5rem}
video,img{display:block;max-width:100%;height:auto;border-radius:6px;background:#000}
/* The browser's controls stand below the picture: on it they would cover the sound's strip. */
.film{container-type:inline-size}.film video{--wide:min(100cqw,max(480px,1px*var(--w)));width:var(--wide);
height:calc(var(--wide)*var(--h)/var(--w) + 72px);object-fit:contain;object-position:top}
.badges span{display:inline-block;margin-right:.5rem;padding:.05rem .6rem;border:1px solid #3a404a;border-radius:99px;font-size:.8rem;color:#98a0ac}
.note{color:#98a0ac;font-size:.85rem;max-width:60rem}
.answer{font-size:1.4rem;white-space:pre-wrap}.answer span{border-radius:3px;padding:.05em 0;cursor:default;
background:linear-gradient(rgb(86 180 233/calc(.55*var(--v))) 50%,rgb(230 159 0/calc(.55*var(--a))) 50%)}
.answer span:hover,.answer span:focus{outline:2px solid #d8dce2}
.prompt{white-space:pre-wrap}.prompt span{border-radius:3px;background:rgb(0 158 115/calc(.7*var(--w,0)))}
.prompt .medium{padding:0 .5rem;border:1px solid;background:none;font-size:.8rem}
.v{color:var(--video)}.a{color:var(--audio)}.t{color:var(--text)}
.bar{display:flex;height:1.8rem;border-radius:4px;overflow:hidden;max-width:60rem}
.bar div{color:#0c0d10;font-size:.8rem;line-height:1.8rem;padding-left:.4rem;overflow:hidden;white-space:nowrap;box-sizing:border-box}
.bar .v{background:var(--video)}.bar .a{background:var(--audio)}.bar .t{background:var(--text)}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem 1.2rem .2rem 0;text-align:left;font-weight:400}th{color:#98a0ac}
";

const SCRIPT: &str = "
const bar=document.getElementById('bar'),which=document.getElementById('which'),mean=bar.innerHTML,about=which.textContent;
const show=s=>{const d=s.dataset,p=x=>(100*x).toFixed(1)+' %';['v','a','t'].forEach((k,i)=>{const b=bar.children[i];
b.style.width=100*d[k]+'%';b.textContent='VAT'[i]+' '+p(d[k]);});
which.textContent='token '+(+d.k+1)+': log-prob '+(+d.p).toFixed(3)+', row that predicted it';};
for(const s of document.querySelectorAll('#answer span')){s.onmouseenter=s.onfocus=()=>show(s);
s.onmouseleave=s.onblur=()=>{bar.innerHTML=mean;which.textContent=about;};}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_user_types_becomes_markup() {
        assert_eq!(escape("<b onload='x'>&\"</b>"), "&lt;b onload=&#39;x&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }
}
