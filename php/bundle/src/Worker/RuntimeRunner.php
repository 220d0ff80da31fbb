<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Symfony\Component\HttpKernel\KernelInterface;
use Symfony\Component\Runtime\RunnerInterface;

/**
 * The front controller, as symfony/runtime runs it.
 *
 * @internal
 */
final class RuntimeRunner implements RunnerInterface
{
    /** @param \Closure(): KernelInterface $kernel */
    public function __construct(private readonly \Closure $kernel)
    {
    }

    public function run(): int
    {
        // The runtime has an error handler of its own, or none, as the application wants it.
        FrontController::run($this->kernel, hasErrorHandler: true);

        return 0;
    }
}
