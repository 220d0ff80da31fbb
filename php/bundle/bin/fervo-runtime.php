<?php

declare(strict_types=1);

use Fervo\DeferredEventBundle\Worker\ApplicationKernel;
use Fervo\DeferredEventBundle\Worker\FrontController;
use Symfony\Component\HttpKernel\KernelInterface;
use Symfony\Component\Runtime\RunnerInterface;

/*
 * What symfony/runtime takes for public/index.php, and runs. The application's vendor/autoload_runtime.php includes it, and is
 * included by fervo-run.php: the variables of both are seen here.
 */
if (!isset($projectDir)) {
    http_response_code(403);
    exit("This script is for fervo-run.php.\n");
}
$_SERVER['SCRIPT_FILENAME'] = $script ?? __FILE__;

// By reference: the runtime is made when this file has returned.
$runtime = null;

return static function () use ($projectDir, &$runtime): RunnerInterface {
    return FrontController::runner(static fn (): KernelInterface => ApplicationKernel::createInRuntime($projectDir, $runtime));
};
