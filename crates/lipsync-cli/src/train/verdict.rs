// SPDX-License-Identifier: MPL-2.0
//! How good an avatar is, in words, and what to film instead where it is not.

use super::trainer::Judgement;

/// What is measured, the least that is good and that is usable, and what it is called where it is less.
struct Measure {
    value: fn(&Judgement) -> Option<f64>,
    good: f64,
    usable: f64,
    /// What is wrong, and what helps.
    lack: &'static str,
    remedy: &'static str,
}

const MEASURES: [Measure; 5] = [
    Measure {
        value: |judgement| judgement.psnr,
        good: 31.0,
        usable: 27.0,
        lack: "mouths that it was not shown look different",
        remedy: "Train longer (--minutes), or film three to five minutes in steady light, with the head still",
    },
    Measure {
        value: |judgement| judgement.sharpness,
        good: 0.8,
        usable: 0.55,
        lack: "the mouth is softer than the film",
        remedy: "Train longer (--minutes), or film closer and in focus",
    },
    Measure {
        value: |judgement| judgement.rank_opening,
        good: 0.7,
        usable: 0.5,
        lack: "the mouth does not follow the speech well",
        remedy: "Film clear speech close to the microphone, without noise or music",
    },
    Measure {
        value: |judgement| judgement.closures,
        good: 0.85,
        usable: 0.6,
        lack: "lips stay open where the film's are closed",
        remedy: "Film clear speech, and nothing in front of the lips",
    },
    Measure {
        // How many times the step is hidden by the film's noise.
        value: |judgement| Some(judgement.seam_noise? / judgement.seam_step?.max(1e-3)),
        good: 1.0,
        usable: 0.4,
        lack: "the border of the mouth is visible",
        remedy: "Film in steady light, without automatic exposure",
    },
];

/// The verdict, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Good,
    Usable,
    Poor,
}

/// The verdict in a line: what it is, because of what, and what helps.
pub fn words(judgement: &Judgement, seconds: f64) -> String {
    let of = |measure: &Measure, value: f64| match value {
        _ if value >= measure.good => Verdict::Good,
        _ if value >= measure.usable => Verdict::Usable,
        _ => Verdict::Poor,
    };
    let measured =
        MEASURES.iter().filter_map(|measure| Some((of(measure, (measure.value)(judgement)?), measure)));
    let lacks: Vec<(Verdict, &Measure)> =
        measured.clone().filter(|(verdict, _)| *verdict != Verdict::Good).collect();
    let verdict = measured.map(|(verdict, _)| verdict).max();
    let word = match verdict {
        None => return "not judged: there was too little film to hold any out".into(),
        Some(Verdict::Good) => return "good".into(),
        Some(Verdict::Usable) => "usable",
        Some(Verdict::Poor) => "poor",
    };
    let because: Vec<&str> = lacks.iter().map(|(_, measure)| measure.lack).collect();
    // The first of what is worst; with little film more of it is the first thing to do.
    let worst =
        lacks.iter().rev().max_by_key(|(verdict, _)| *verdict).map_or("", |(_, measure)| measure.remedy);
    let remedy = if seconds < 60.0 { "Film three to five minutes of speech" } else { worst };
    format!("{word}: {}. {remedy}", because.join(", "))
}

/// The measurements in lines.
pub fn lines(judgement: &Judgement) -> Vec<String> {
    let mut lines = Vec::new();
    let held = judgement.seconds_held_out.map(|seconds| format!("{seconds:.0} s that it was not shown: "));
    let looks = [
        judgement.psnr.map(|psnr| format!("mouths of {psnr:.1} dB PSNR")),
        judgement.sharpness.map(|share| format!("{:.0} % as sharp as the film", 100.0 * share)),
    ];
    let step = judgement.seam_step.zip(judgement.seam_noise);
    let step = step.map(|(step, noise)| {
        format!("a step of {step:.1} levels at the border (noise of the film: {noise:.1})")
    });
    let looks: Vec<String> = looks.into_iter().chain([step]).flatten().collect();
    if !looks.is_empty() {
        lines.push(format!("  looks         {}{}", held.unwrap_or_default(), looks.join(", ")));
    }
    let follows = judgement.rank_opening.map(|rank| {
        let loudness = judgement.rank_loudness.map(|rank| format!(" (loudness alone: {rank:.2})"));
        format!("opens like the film's with rank correlation {rank:.2}{}", loudness.unwrap_or_default())
    });
    let closes =
        judgement.closures.map(|share| format!("closes in {:.0} % of its closed frames", 100.0 * share));
    let moves: Vec<String> = follows.into_iter().chain(closes).collect();
    if !moves.is_empty() {
        lines.push(format!("  mouth         {}", moves.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_name_what_is_wrong_and_what_helps() {
        let good = Judgement {
            psnr: Some(34.0),
            seconds_held_out: Some(14.4),
            sharpness: Some(0.93),
            rank_opening: Some(0.78),
            closures: Some(0.94),
            rank_loudness: Some(0.31),
            seam_step: Some(0.4),
            seam_noise: Some(1.6),
            ..Judgement::default()
        };
        assert_eq!(words(&good, 180.0), "good");
        assert_eq!(
            lines(&good).join("\n"),
            "  looks         14 s that it was not shown: mouths of 34.0 dB PSNR, 93 % as sharp as the film, \
             a step of 0.4 levels at the border (noise of the film: 1.6)\n  \
             mouth         opens like the film's with rank correlation 0.78 (loudness alone: 0.31), closes in 94 % of its closed frames"
        );
        let soft = Judgement { sharpness: Some(0.6), ..good.clone() };
        let told = words(&soft, 180.0);
        assert!(told.starts_with("usable: the mouth is softer") && told.contains("--minutes"), "{told}");
        let poor = Judgement { rank_opening: Some(0.2), ..soft };
        let told = words(&poor, 180.0);
        assert!(
            told.starts_with("poor: the mouth is softer than the film, the mouth does not follow"),
            "{told}"
        );
        assert!(
            told.ends_with("Film clear speech close to the microphone, without noise or music"),
            "{told}"
        );
        let seam = Judgement { seam_noise: Some(0.3), ..good };
        assert!(
            words(&seam, 180.0).starts_with("usable: the border of the mouth is visible. Film in steady")
        );
        assert!(words(&poor, 20.0).ends_with("Film three to five minutes of speech"));
        assert!(words(&Judgement::default(), 20.0).starts_with("not judged"));
    }
}
