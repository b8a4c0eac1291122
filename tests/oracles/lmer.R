# Makes lmer_r.json: what lme4 says of a small simulated crossing.
#
#     Rscript lmer.R > lmer_r.json
#
# The model is the package's, as far as lme4 can write it: two categories, so that the lean (x, half the
# difference) is all there is to know of them, and one variance for both framings where prompts carry
# the effect. A fixed intercept for each model × prompt takes the level out.
suppressMessages({library(lme4); library(jsonlite)})
set.seed(20260131)
d <- expand.grid(word = 1:18, prompt = 1:8, model = 1:8)
d$family <- ifelse(d$model <= 3, "A", "B")
d$negative <- as.numeric(d$prompt > 5); d$positive <- 1 - d$negative
d$x <- ifelse(d$word <= 8, 0.5, -0.5)
id <- function(...) as.integer(interaction(...))
both <- function(g, sd, r) {
  a <- rnorm(max(g)); b <- r * a + sqrt(1 - r^2) * rnorm(max(g))
  sd * (a[g] * d$positive + b[g] * d$negative)
}
one <- function(g, sd) sd * rnorm(max(g))[g]
d$y <- round(
  both(d$word, 0.8, -0.4) + both(id(d$word, d$family), 0.5, 0.3) + both(id(d$word, d$model), 0.4, -0.2) +
  d$x * (both(d$model, 0.6, -0.3) + one(d$prompt, 0.4) + one(id(d$model, d$prompt), 0.3)) +
  one(id(d$word, d$prompt), 0.3) + rnorm(nrow(d), 0, 0.4) + one(id(d$model, d$prompt), 2), 3)
d$xp <- d$x * d$positive; d$xn <- d$x * d$negative
d$level <- interaction(d$model, d$prompt)
exact <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e6))
full <- y ~ 0 + level + xp:family + xn:family + (0 + positive + negative | word) +
  (0 + positive + negative | word:family) + (0 + positive + negative | word:model) +
  (0 + xp + xn | model) + (0 + x | prompt) + (0 + x | model:prompt) + (1 | word:prompt)
fitted <- function(formula) {
  m <- lmer(formula, d, control = exact)
  co <- coef(summary(m)); co <- co[grepl("family", rownames(co)), ]
  list(logLik = as.numeric(logLik(m)), coef = cbind(term = rownames(co), as.data.frame(co)),
       sd = as.data.frame(VarCorr(m))[, c("grp", "var1", "var2", "sdcor")])
}
cat(toJSON(list(
  lme4 = as.character(packageVersion("lme4")), shape = c(8, 8, 18), y = d$y,
  full = fitted(full), without_word_family = fitted(update(full, . ~ . - (0 + positive + negative | word:family)))
), digits = 12, auto_unbox = TRUE), "\n")
