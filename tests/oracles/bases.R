# Makes bases_r.json: what lme4 says of the paper's ten reward models, with and without effects of their bases.
#
#     Rscript bases.R big2_words.csv > bases_r.json
#
# big2_words.csv holds the mean normal score of every word by model and framing, from Python:
#
#     ds = valuebias.datasets.load("christian2026-big2")
#     means = outcome(ds).groupby("framing").mean("prompt").to_dataset("framing")
#     means["agency"] = ds["membership"].sel(category="agency", drop=True)
#     means.to_dataframe()[["family", "agency", "positive", "negative"]].to_csv("big2_words.csv")
#
# Every model answers every prompt with every word, so these means hold all that the 142,020 scores say of
# families, bases, models and words; what prompts add is in the SDs of models and of what is left. The model
# is the package's, with x half the difference of the categories, so that its coefficient is the lean, and a
# fixed level for each model (and framing), for normal scores have none. "signed" takes half the difference
# of the framings and is the headline. "framings" keeps them apart, with a covariance between them, as the
# package does. There the SD of bases' leans under positive prompts is zero: with five bases under two
# families REML has three degrees of freedom to see it by.
suppressMessages({library(lme4); library(jsonlite)})
bases <- c(
  "LxzGordon/URM-LLaMa-3.1-8B" = "Llama-3.1-8B", "nicolinho/QRM-Llama3.1-8B" = "Llama-3.1-8B",
  "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2" = "Llama-3.1-8B",
  "RLHFlow/ArmoRM-Llama3-8B-v0.1" = "Llama-3-8B", "Ray2333/GRM-Llama3-8B-rewardmodel-ft" = "Llama-3-8B",
  "Ray2333/GRM-Llama3.2-3B-rewardmodel-ft" = "Llama-3.2-3B",
  "Ray2333/GRM-gemma2-2B-rewardmodel-ft" = "Gemma-2-2B", "nicolinho/QRM-Gemma-2-27B" = "Gemma-2-27B",
  "Skywork/Skywork-Reward-Gemma-2-27B" = "Gemma-2-27B",
  "Skywork/Skywork-Reward-Gemma-2-27B-v0.2" = "Gemma-2-27B")
d <- read.csv(commandArgs(TRUE)[1])
stopifnot(setequal(d$model, names(bases)))
d$word <- d$response; d$base <- bases[d$model]; d$x <- ifelse(d$agency == "True", 0.5, -0.5)
signed <- transform(d, y = (positive - negative) / 2, level = model)
framings <- rbind(transform(d, y = positive, p = 1, n = 0), transform(d, y = negative, p = 0, n = 1))
framings <- transform(framings, xp = x * p, xn = x * n, level = interaction(model, p))

# One row a word, model and framing: what is left of it is residual, or model x word where framings correlate.
exact <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e6),
                     check.nobs.vs.nRE = "ignore", check.nobs.vs.nlev = "ignore")
fitted <- function(formula, data, difference) {
  m <- suppressMessages(lmer(formula, data, control = exact))
  co <- coef(summary(m)); keep <- grepl("family", rownames(co)); co <- co[keep, ]
  v <- as.matrix(vcov(m))[keep, keep]
  units <- if ("base" %in% names(getME(m, "flist"))) d$base else d$model
  list(logLik = as.numeric(logLik(m)), singular = isSingular(m),
       coef = data.frame(term = rownames(co), estimate = co[, 1], se = co[, 2], row.names = NULL),
       difference = data.frame(
         framing = rownames(difference), estimate = c(difference %*% co[, 1]),
         se = sqrt(diag(difference %*% v %*% t(difference))), row.names = NULL),
       df = length(unique(units)) - length(unique(d$family)),  # units less families
       sd = as.data.frame(VarCorr(m))[, c("grp", "var1", "var2", "sdcor")])
}
# Gemma less Llama; columns as lme4 names its coefficients.
one <- rbind(signed = c(1, -1))
two <- rbind(signed = c(1, -1, -1, 1) / 2, positive = c(1, -1, 0, 0), negative = c(0, 0, 1, -1))
s <- y ~ 0 + level + x:family + (1 | word) + (1 | word:family) + (0 + x | model)
f <- y ~ 0 + level + xp:family + xn:family + (0 + p + n | word) + (0 + p + n | word:family) +
  (0 + p + n | word:model) + (0 + xp + xn | model)
cat(toJSON(list(
  versions = list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4"))),
  base = as.list(bases), family = as.list(tapply(d$family, d$model, unique)),
  signed = list(models = fitted(s, signed, one),
                bases = fitted(update(s, . ~ . + (1 | word:base) + (0 + x | base)), signed, one)),
  framings = list(models = fitted(f, framings, two),
                  bases = fitted(update(f, . ~ . + (0 + p + n | word:base) + (0 + xp + xn | base)), framings, two))
), digits = 12, auto_unbox = TRUE, na = "null", pretty = 1), "\n")
