"""Every metric in plain words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A metric in plain words: its title, what it says, and where its end of the scale is."""

    title: str
    meaning: str
    scale: str


GLOSSARY = {
    "frechet": Term(
        "Fréchet distance",
        "Distance between the clouds of real and synthetic images in a feature space, when each cloud is summed up by"
        " its mean and covariance.",
        "0 is identical; it grows as fewer images are compared, so read it only beside its ceiling at the same n.",
    ),
    "fid": Term(
        "FID",
        "The Fréchet distance in the features of the 2015 Inception network.",
        "0 is identical; it grows as fewer images are compared.",
    ),
    "kid": Term(
        "Kernel distance (KID)",
        "Squared distance between real and synthetic images in a feature space, by a cubic kernel; its expected value"
        " does not depend on how many images are compared.",
        "0 is identical; slightly negative values are chance. Its size depends on the space: compare within one only.",
    ),
    "frechet_infinity": Term(
        "Fréchet distance, extrapolated",
        "The Fréchet distance that infinitely many images would score, read off a line through smaller sets.",
        "0 is identical; slightly negative values are chance. Not estimable with few images for the size of the space.",
    ),
    "c2st_auc": Term(
        "Told apart by a probe (AUC)",
        "How well a simple classifier, tested on patients it was not fitted to, tells real from synthetic images in a"
        " feature space. A perfect score can come from a trace of storage: see that row.",
        "0.5: this probe cannot tell them apart, another may; 1: it always can.",
    ),
    "traces_auc": Term(
        "Told apart by traces of storage (AUC)",
        "How well the same classifier tells them apart by grey levels used, clipping and compression blocks only, which"
        " say nothing about anatomy.",
        "0.5 is none; near 1, mend the preparation before believing any distance.",
    ),
    "violations": Term(
        "Share that breaks a constraint",
        "Share of samples unlike any real one in grey values, size, place or shape of structures, or combination of"
        " findings. The rules are learnt from real training images, of which unseen ones break any in about 1 %.",
        "0 to 100 %, lower is better; read it beside the share among held-out patients.",
    ),
    "foreground_share": Term(
        "Share of the image that a structure covers",
        "Mean over images; the real training images' share stands in the note.",
        "Neither end is good: it should be that of the real images.",
    ),
    "precision": Term(
        "Precision",
        "Share of synthetic images that lie in the neighbourhood of some real image.",
        "0 to 1, higher is better; copies of the training images also score high.",
    ),
    "recall": Term(
        "Recall",
        "Share of real images that lie in the neighbourhood of some synthetic image: what is missing lowers it.",
        "0 to 1, higher is better.",
    ),
    "density": Term(
        "Density",
        "How many real neighbourhoods a synthetic image falls in, on average, relative to expectation.",
        "About 1 when the sets agree; can exceed 1.",
    ),
    "coverage": Term(
        "Coverage",
        "Share of real images that have a synthetic image in their neighbourhood: what is missing lowers it.",
        "0 to 1, higher is better.",
    ),
    "dice_volume": Term(
        "Dice, per volume",
        "Overlap of predicted and true structure, counted over all slices of a volume, then averaged over volumes.",
        "0 no overlap, 1 perfect.",
    ),
    "dice_slice": Term(
        "Dice, per slice",
        "Overlap of predicted and true structure in each slice, then averaged.",
        "0 no overlap, 1 perfect.",
    ),
    "dice_ratio": Term(
        "Dice ratio",
        "Dice of the network trained on synthetic images divided by Dice of the one trained on real images, both on"
        " real test patients.",
        "1 means equal.",
    ),
    "dice_gap": Term(
        "Dice gap",
        "Dice of the network trained on real images minus Dice of the one trained on synthetic images, both on real"
        " test patients.",
        "0 means equal; positive means synthetic is worse.",
    ),
    "auc": Term(
        "AUC",
        "Probability that a classifier puts an image with the finding above one without it.",
        "0.5 is chance, 1 perfect; below 0.5 the order is the wrong way round.",
    ),
    "auc_mirrored": Term(
        "Mirrored AUC",
        "The AUC, with every value below 0.5 replaced by what it lacks to 1: 0.4 becomes 0.6. This flatters: a"
        " classifier that knows nothing scores above 0.5 on average, and one that has a finding the wrong way round"
        " looks good. It is here only to compare with released code that did so.",
        "0.5 to 1; chance lies above 0.5, so read it beside the bad case, and never beside a plain AUC.",
    ),
    "auc_gap": Term(
        "AUC gap",
        "AUC of the classifier trained on real images minus AUC of the one trained on synthetic images, both on the"
        " same real test patients, in pairs that share a learner seed.",
        "0 means nothing is lost; positive means synthetic is worse.",
    ),
    "delta_syn": Term(
        "Label overfitting (\N{GREEK CAPITAL LETTER DELTA}syn)",
        "AUC of a classifier on other images of the kind it was trained on, minus AUC of the same classifier on real"
        " test patients. Far above its ceiling, the images carry their label in a way that real images do not.",
        "Lower is better, about 0 between two sets of real patients; images that carry no label at all score about 0"
        " too, so read it beside the AUC on real patients.",
    ),
    "probe_auc": Term(
        "AUC of a second learner",
        "AUC of a logistic regression on image features, tested on the same patients: a conclusion should not be "
        "that of one network.",
        "0.5 is chance, 1 perfect.",
    ),
    "probe_auc_gap": Term(
        "AUC gap of a second learner",
        "AUC of the second learner trained on real images minus AUC of the one trained on synthetic images.",
        "0 means nothing is lost; positive means synthetic is worse.",
    ),
    "probe_dice": Term(
        "Dice of a second learner",
        "Dice per volume of a smaller network that sees a quarter of the images, tested on the same patients.",
        "0 no overlap, 1 perfect.",
    ),
    "probe_dice_gap": Term(
        "Dice gap of a second learner",
        "Dice of the smaller network trained on real images minus Dice of the one trained on synthetic images.",
        "0 means equal; positive means synthetic is worse.",
    ),
    "mix_gain": Term(
        "Gain from adding it to real images",
        "What real and synthetic training images reach on real patients, minus what real ones with classical "
        "augmentation reach at equal updates.",
        "0 means it adds nothing that shifting and zooming real images does not; above 0 it helps.",
    ),
    "real_equivalent_patients": Term(
        "Worth in real patients",
        "Number of real training patients with whom the second learner reaches what it reaches from this cohort.",
        "Higher is better. An end at the smallest or largest number tried is a bound: at most, or at least, so many.",
    ),
    "calibration_slope": Term(
        "Calibration slope",
        "How far the classifier's probabilities spread, against what real patients show.",
        "1 is ideal; below 1 the classifier is too sure, above 1 not sure enough.",
    ),
    "calibration_intercept": Term(
        "Calibration intercept",
        "Whether the finding is more frequent in real patients than the classifier says.",
        "0 is ideal; above 0 it is more frequent than said.",
    ),
    "calibration_error": Term(
        "Calibration error (ECE)",
        "Mean distance between the classifier's probability and the share of images that have the finding, in 15 "
        "groups of equal size, less a part of what chance adds.",
        "0 is ideal; read it beside its ceiling.",
    ),
    "brier": Term(
        "Brier score",
        "Mean squared distance of the classifier's probability from the truth.",
        "0 is ideal; a rare finding scores low by itself.",
    ),
    "missed_gap": Term(
        "Findings missed more often",
        "Share of the images with the finding that the classifier trained on synthetic images misses, minus the "
        "share that the one trained on real images misses, at the latter's threshold.",
        "0 means equal; positive means that more is missed.",
    ),
    "subgroup_gap": Term(
        "Loss in a subgroup",
        "What training on real images reaches among these patients, minus what training on synthetic images does; "
        "of findings, the mean over those with enough images there.",
        "0 means nothing is lost; positive means synthetic is worse for them.",
    ),
    "subgroup_gap_worst": Term(
        "Largest loss in a subgroup",
        "The subgroup that loses most. The largest of several is large by chance, too.",
        "Lower is better.",
    ),
    "copies": Term(
        "Share of copies",
        "Share of images that resemble a training image more than real images of different patients resemble each"
        " other, all but about one in a thousand, or in as many as there are. In the space 'aligned' training images"
        " are first mirrored, moved, turned and scaled to fit, alone or two together.",
        "0 to 100 %, lower is better; read it beside the share among held-out patients.",
    ),
    "copy_sensitivity": Term(
        "Planted copies found",
        "Share of training images, changed on purpose in nine ways, that the search for copies finds. What it misses"
        " there it misses in the synthetic cohort too.",
        "0 to 100 %, higher is better.",
    ),
    "mask_copies": Term(
        "Share of masks that copy a training mask",
        "Share of masks that resemble a training mask more than the masks of different patients resemble each other,"
        " all but about one in a thousand. Small masks are alike by nature and weigh little; an empty one is no copy.",
        "0 to 100 %, lower is better; read it beside the share among held-out patients.",
    ),
    "copies_excess": Term(
        "Copies beyond chance",
        "Share of images that resemble a training image too closely, less the same share among held-out patients, who"
        " cannot have been copied: theirs are false alarms.",
        "-100 to 100 %; about 0 where nothing is copied. An interval above 0 shows copies.",
    ),
    "copies_bound": Term(
        "Bound on copies",
        "What the true share of copies can be at most: the upper end of the copies beyond chance over the lower end of"
        " the share of planted copies that is found, both together with 95 %.",
        "0 to 100 %, lower is better; it speaks of copies changed as the planted ones are.",
    ),
    "copies_gate": Term(
        "Copies: exact test",
        "Probability of as many copies if there were only false alarms, as often as among the patients of the"
        " threshold and held-out patients. At 0.001 or less the audit fails.",
        "0 to 1; a large value does not show that nothing is copied.",
    ),
    "mask_copies_excess": Term(
        "Copied masks beyond chance",
        "Share of masks that resemble a training mask too closely, less the same share among held-out patients.",
        "-100 to 100 %; about 0 where nothing is copied. An interval above 0 shows copies.",
    ),
    "mask_copies_bound": Term(
        "Bound on copied masks",
        "What the true share of copied masks can be at most: the upper end of the copies beyond chance over the lower"
        " end of the share of planted copies that is found, both together with 95 %.",
        "0 to 100 %, lower is better; it speaks of masks changed as the planted ones are.",
    ),
    "mask_copies_gate": Term(
        "Copied masks: exact test",
        "Probability of as many copied masks if there were only false alarms. At 0.001 or less the audit fails.",
        "0 to 1; a large value does not show that nothing is copied.",
    ),
    "mask_similarity_median": Term(
        "Median similarity of masks",
        "Similarity of the typical mask to the training mask nearest to it, less where the mask is small.",
        "-1 to 1; neither end is good: too low is unreal, too high is copied.",
    ),
    "nearest_similarity_median": Term(
        "Median similarity",
        "Similarity of the typical image to the training image nearest to it.",
        "-1 to 1; neither end is good: too low is unreal, too high is copied.",
    ),
    "membership_auc": Term(
        "Membership inference, AUC",
        "Probability that an attacker who sees the synthetic images puts a training image above an image of a patient"
        " who was not trained on. The best of the attacks has an interval that allows for the choice.",
        "0.5 is chance, 1 is found every time; it bounds these attacks only.",
    ),
    "membership_tpr": Term(
        "Membership found at 1\N{NARROW NO-BREAK SPACE}% false alarms",
        "Share of training images (or patients) that the attack finds while it accuses at most one in a hundred of"
        " those who were not trained on.",
        "1\N{NARROW NO-BREAK SPACE}% is chance, lower is better; needs 1,000 held-out images, or patients.",
    ),
    "membership_tpr_per_mille": Term(
        "Membership found at 0.1\N{NARROW NO-BREAK SPACE}% false alarms",
        "The same while it accuses at most one in a thousand.",
        "0.1\N{NARROW NO-BREAK SPACE}% is chance, lower is better; needs 10,000 held-out images, or patients.",
    ),
    "membership_worst_decile": Term(
        "Membership, worst decile",
        "Share of patients not trained on that has to be accused to find the tenth of the training patients that is"
        " most exposed.",
        "10\N{NARROW NO-BREAK SPACE}% is chance; 0 means that these patients stand out.",
    ),
    "data_copying": Term(
        "Data copying (C_T)",
        "Whether synthetic images are nearer to the training images than images of other patients are, by ranks within"
        " groups of similar images. Descriptive: it averages, so a few copies are hidden.",
        "About 0 is expected, far below 0 is copying, far above 0 stays away from the data.",
    ),
    "closest_share": Term(
        "Nearer to training patients",
        "Share of images whose nearest real image is a training image, with as many held-out images to choose from. A"
        " screening, not a privacy claim.",
        "50\N{NARROW NO-BREAK SPACE}% is expected; more is copying.",
    ),
    "nndr": Term(
        "Nearest-distance ratio (NNDR)",
        "How much nearer the nearest patient is than the next nearest, among training patients, relative to held-out"
        " patients. A screening, not a privacy claim.",
        "1 is expected; lower is copying.",
    ),
    "authenticity": Term(
        "Authenticity",
        "Share of images that are further from their nearest training image than that image is from other patients. A"
        " screening, not a privacy claim.",
        "0 to 100\N{NARROW NO-BREAK SPACE}%; read it beside the share among held-out patients.",
    ),
    "singling_out": Term(
        "Singling out",
        "Share of training patients whom some image resembles, and nobody else, beyond the share of held-out patients.",
        "0 is no risk beyond control; 0 to 100\N{NARROW NO-BREAK SPACE}%, lower is better.",
    ),
    "linkability": Term(
        "Linkability",
        "How often the images help to tell that two real images belong to one patient, beyond the rate among held-out"
        " patients.",
        "0 is no risk beyond control; copies of single images do not raise it.",
    ),
    "inference": Term(
        "Inference",
        "How often the nearest synthetic image tells a finding of a training patient, beyond the rate among held-out"
        " patients.",
        "0 is no risk beyond control; 0 to 100\N{NARROW NO-BREAK SPACE}%, lower is better.",
    ),
    "verification_auc": Term(
        "Recognition of patients",
        "Probability that the space finds two real images of one patient more alike than images of two patients: what"
        " re-identification can stand on.",
        "0.5 recognises nobody, 1 everybody; it is about the space, not about the synthetic images.",
    ),
    "reidentification_auc": Term(
        "Re-identification, AUC",
        "Probability that a training patient is more alike to their most similar image than a patient who was not"
        " trained on is to theirs.",
        "0.5 is chance, 1 is recognised every time.",
    ),
    "reidentification_hits": Term(
        "Re-identification, hits",
        "Share of training patients with an image that passes as theirs at one false match in a thousand, beyond the"
        " share of held-out patients.",
        "0 is no risk beyond control; 0 to 100\N{NARROW NO-BREAK SPACE}%, lower is better.",
    ),
}


def term(metric: str) -> Term:
    """Return a metric in plain words; its own name when it is not in the glossary."""
    return GLOSSARY.get(metric, Term(metric.replace("_", " "), "A metric of a plug-in; see its documentation.", ""))
