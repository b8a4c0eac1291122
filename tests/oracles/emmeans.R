# Makes emmeans_r.json: means, comparisons and slopes that emmeans and predict() give for lme4's fits of
# one simulated crossing, and the data.
#
#     Rscript emmeans.R > emmeans_r.json
#
# Every model answers every prompt with every word, so that the fixed effects do not depend on the
# variances and a posterior under flat priors has them as its means. "Equal" means are emmeans', with
# numbers at their mean; "observed" ones are means of predictions for the models at hand with some
# variables set, as marginaleffects::avg_predictions(variables = ) has them.
suppressMessages({library(lme4); library(emmeans); library(jsonlite); library(splines)})
set.seed(20261129)
models <- expand.grid(copy = 1:2, recipe = c("plain", "long"), stage = c("instruct", "reward"),
                      family = c("Gemma", "Llama", "Qwen"), stringsAsFactors = FALSE)
models <- models[-c(3, 10, 24), ]                       # so that observed and equal weights differ
models$model <- sprintf("m%02d", seq_len(nrow(models)))
models$n_params <- signif(10^runif(nrow(models), 8.5, 11), 4)
cells <- expand.grid(word = 1:10, prompt = 1:6, model = models$model, stringsAsFactors = FALSE)
d <- merge(cells, models, by = "model", sort = FALSE)
d$category <- ifelse(d$word <= 5, "agency", "communion")
d$framing <- ifelse(d$prompt <= 3, "positive", "negative")
d$x <- ifelse(d$category == "agency", 0.5, -0.5)
lean <- rnorm(nrow(models)); names(lean) <- models$model
size <- log10(d$n_params)
d$y <- round(rnorm(nrow(d)) + rnorm(10)[d$word] + d$x * (
  ifelse(d$framing == "positive", 1, -0.6) * (lean[d$model] + (d$family == "Llama") * ifelse(d$stage == "reward", 1.5, -1) +
  0.5 * (d$recipe == "long") * (d$family == "Qwen") + 0.4 * (size - 9.5) + 0.3 * (size - 9.5)^2)), 3)

control <- lmerControl(optimizer = "bobyqa", check.conv.singular = "ignore", check.rankX = "ignore")
fitted <- function(f)
  lmer(as.formula(paste("y ~ category * framing * (", f, ") + (0 + x | model) + (1 | word)")), d, control = control)
signed <- function(t, by) {                              # agency - communion, half of positive - negative
  sign <- ifelse(t$category == "agency", 1, -1) * ifelse(t$framing == "positive", 0.5, -0.5)
  out <- aggregate(list(estimate = sign * t$value), t[by], sum)
  out[do.call(order, out[by]), , drop = FALSE]
}
equal <- function(m, by, at = list()) {
  t <- as.data.frame(emmeans(m, c("category", "framing", by), at = at, lmer.df = "asymptotic"))
  names(t)[names(t) == "emmean"] <- "value"
  signed(t, by)
}
observed <- function(m, set) {                           # set: data frame of the cells
  grid <- expand.grid(category = c("agency", "communion"), framing = c("positive", "negative"),
                      stringsAsFactors = FALSE)
  t <- do.call(rbind, lapply(seq_len(nrow(set)), function(i) do.call(rbind, lapply(seq_len(nrow(grid)), function(j) {
    new <- models; new$category <- grid$category[j]; new$framing <- grid$framing[j]
    for (name in names(set)) new[[name]] <- set[[name]][i]
    data.frame(set[i, , drop = FALSE], grid[j, ], value = mean(predict(m, new, re.form = NA)), row.names = NULL)
  }))))
  signed(t, names(set))
}
slope <- function(m, by, at = NULL) {                    # per factor of ten, by central differences
  h <- 1e-4
  sides <- lapply(c(-h, h), function(s) {
    sets <- if (length(by)) unique(models[by]) else data.frame(one = 1)
    grid <- merge(sets, expand.grid(category = c("agency", "communion"), framing = c("positive", "negative")))
    t <- do.call(rbind, lapply(seq_len(nrow(grid)), function(j) {
      new <- models
      for (name in setdiff(names(grid), "one")) new[[name]] <- as.character(grid[[name]][j])
      if (!is.null(at)) new$n_params <- at
      new$n_params <- 10^(log10(new$n_params) + s)
      data.frame(grid[j, ], value = mean(predict(m, new, re.form = NA)))
    }))
    signed(t, names(sets))
  })
  out <- sides[[1]]; out$estimate <- (sides[[2]]$estimate - sides[[1]]$estimate) / (2 * h); out
}
two <- fitted("family * stage"); three <- fitted("family * stage * recipe")
line <- fitted("family * log10(n_params)"); curve <- fitted("family + poly(log10(n_params), 2)")
knots <- fitted("family + bs(log10(n_params), df = 4)")
sizes <- c(1e9, 2e10)
set <- function(...) expand.grid(..., stringsAsFactors = FALSE)
families <- c("Gemma", "Llama", "Qwen"); stages <- c("instruct", "reward")
cat(toJSON(list(
  versions = lapply(c(lme4 = "lme4", emmeans = "emmeans"), function(p) as.character(packageVersion(p))),
  models = models[c("model", "family", "stage", "recipe", "n_params")], shape = c(nrow(models), 6, 10), y = d$y,
  equal = list(
    two_cells = equal(two, c("family", "stage")), two_family = equal(two, "family"),
    three_family = equal(three, "family"), three_cells = equal(three, c("family", "recipe")),
    line_family = equal(line, "family"), curve_at = equal(curve, c("family", "n_params"), list(n_params = sizes)),
    knots_at = equal(knots, c("family", "n_params"), list(n_params = sizes))),
  observed = list(
    two_family = observed(two, set(family = families)), three_family = observed(three, set(family = families)),
    three_cells = observed(three, set(family = families, stage = stages)),
    line_family = observed(line, set(family = families)), curve_family = observed(curve, set(family = families)),
    knots_at = observed(knots, set(family = families, n_params = sizes))),
  slopes = list(line = slope(line, "family"), curve = slope(curve, character()),
    curve_at = slope(curve, character(), 2e10), knots = slope(knots, character()))
), digits = 12, auto_unbox = TRUE), "\n")
