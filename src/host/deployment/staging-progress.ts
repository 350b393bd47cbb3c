import type { ReportProgress } from "#base/progress.ts";

const steps = [
  { id: "bound_images", description: "Fetching bound images" },
  { id: "deploying", description: "Deploying" },
  { id: "cleanup", description: "Cleaning up" },
] as const;

export type StagingStep = (typeof steps)[number]["id"];

/** Reports what follows the pull of a host's image, with bootc's names, in the order of `steps`. */
export function reportStaging(report: ReportProgress): { readonly done: (step: StagingStep) => void } {
  const completed = new Set<StagingStep>();
  const tell = () =>
    report({
      kind: "steps",
      task: "staging",
      id: "staging",
      description: "Deploying the image",
      steps: completed.size,
      stepsCached: 0,
      stepsTotal: steps.length,
      parts: steps.map(({ id, description }) => ({ part: id, id, description, completed: completed.has(id) })),
    });
  tell();
  return {
    done(step) {
      completed.add(step);
      tell();
    },
  };
}
