# Makes classical_r.json: what R says of median ranks.
#
#     Rscript classical.R big2_medians.csv three_families.csv > classical_r.json
#
# big2_medians.csv holds the medians of the paper's Big Two scores: classical(ds).medians.to_csv(path,
# index=False). three_families.csv is made up. "incomplete" is without every fifth row of three_families.
suppressMessages({library(nlme); library(lme4); library(car); library(jsonlite)})

read <- function(path) {
  d <- read.csv(path)
  d$framing <- factor(d$framing, levels = c("positive", "negative"))
  for (name in c("family", "category", "model")) d[[name]] <- factor(d[[name]])
  d$cell <- interaction(d$category, d$framing)
  d
}
exact <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e6))
terms <- function(x) cbind(term = rownames(x), as.data.frame(x))
# Standard errors and log-likelihood at the maximum, which lme (its default optimiser) does not reach.
mixed <- function(d, formula) {
  m <- suppressMessages(lmer(formula, d, control = exact))
  list(logLik = as.numeric(logLik(m)), coef = terms(coef(summary(m))),
       sd = as.data.frame(VarCorr(m))[, c("grp", "var1", "var2", "sdcor")],
       wald = terms(Anova(m)))
}
intercept <- rank ~ family * category * framing + (1 | model)
slopes <- rank ~ family * category * framing + (0 + cell | model)
anova2 <- function(d) terms(Anova(lm(rank ~ family * category * framing, d)))
t_table <- function(d) terms(summary(lme(rank ~ family * category * framing, random = ~ 1 | model, d))$tTable)

big2 <- read(commandArgs(TRUE)[1])
three <- read(commandArgs(TRUE)[2])
incomplete <- three[seq_len(nrow(three)) %% 5 != 0, ]
pair <- droplevels(subset(three, family != "Qwen" & category == "care" & framing == "positive"))
welch <- t.test(rank ~ family, pair)
sds <- tapply(pair$rank, pair$family, sd); ns <- table(pair$family)
pooled <- sqrt(sum((ns - 1) * sds^2) / (sum(ns) - 2))
out <- list(
  versions = list(R = as.character(getRversion()), nlme = as.character(packageVersion("nlme")),
                  lme4 = as.character(packageVersion("lme4")), car = as.character(packageVersion("car"))),
  big2 = list(intercept = mixed(big2, intercept), slopes = mixed(big2, slopes), anova = anova2(big2)),
  three = list(intercept = mixed(three, intercept), slopes = mixed(three, slopes),
               anova = anova2(three), nlme = t_table(three)),
  incomplete = list(intercept = mixed(incomplete, intercept), slopes = mixed(incomplete, slopes),
                    anova = anova2(incomplete), nlme = t_table(incomplete)),
  welch = list(category = "care", framing = "positive", families = c("Gemma", "Llama"),
               t = welch$statistic[[1]], df = welch$parameter[[1]], p = welch$p.value,
               d = -diff(as.numeric(tapply(pair$rank, pair$family, mean))) / pooled),
  fdr = list(p = c(0.01, 0.04, 0.03, 0.2), adjusted = p.adjust(c(0.01, 0.04, 0.03, 0.2), "BH")),
  normal_scores = qnorm(ppoints(12))
)
cat(toJSON(out, digits = 12, auto_unbox = TRUE, pretty = 1), "\n")
