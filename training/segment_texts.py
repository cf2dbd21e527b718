"""What the report of segments says of its plots and of its numbers."""

PICTURES = {
    "heat": "Difference of each segment from all customers, in standard deviations over all customers. Red is more, "
    "blue is less, a dot is hidden or not tested.",
    "radar": "The same differences for eight features that speak of different things. The inner ring is the average "
    "over all customers: outside it is more, inside it is less.",
    "migration": "Rows: the segment at the earlier day. Columns: the segment now. Each cell has the share of its row "
    "and the number of customers.",
    "curve": "Silhouette of each number of segments that was tried; higher is clearer.",
    "diagram": "How well customers lie in their segment: 1 is well inside, 0 is between two segments, and what lies "
    "left of 0 is nearer to another one.",
    "pca": "The two directions in which customers, as the clustering sees them, differ most (principal components). "
    "Each hexagon stands for ten customers or more of a sample and has the colour of the segment most of them are in; "
    "pale means mixed.",
    "tsne": "The same customers placed so that neighbours stay neighbours (t-SNE). Distances between groups, and their "
    "areas, mean nothing here.",
}
MEANINGS = {
    "Against all customers": "Every figure of a segment stands beside the same figure over all customers, the segment "
    "included. In bars, the orange mark is all customers.",
    "The range in brackets": "A 95 % interval: of ranges made in this way, 19 of 20 contain the true figure. A wide "
    "range means that little is known.",
    "Standard deviations": "A difference of 0.2 is small, 0.5 medium, 0.8 large, whatever the unit. Numbers are "
    "compared as the model sees them: extremes cut, very skewed amounts on a logarithmic scale. The averages that are "
    "written out are the plain ones.",
    "What counts as different": "Only what is beyond chance when all features of all segments are tested together "
    "(Benjamini-Hochberg, 5 %), and at least small (0.2). Segments were found in these same figures, so the tests say "
    "that a description is exact. They do not prove that the segments exist in nature.",
    "Hidden": "Figures of fewer than ten customers are not shown. Nor are figures from which these could be worked out "
    "with the totals, which is why larger ones are sometimes hidden too.",
    "Answers to contacts": "What followed a contact is no proof that the contact caused it. Rates of segments with few "
    "contacts are drawn towards the rate of all segments.",
    "Columns that are only told": "Outcomes, labels, groups and protected attributes had no part in finding, naming or "
    "describing the segments. They are shown so that you can judge the segments by them.",
}
"""Term → what it means, in the order in which a reader meets them."""
