<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Messenger\Config\CheckFacts;
use Symfony\Component\HttpKernel\Kernel;

/**
 * What the worker's check is told of an application with Messenger, without secrets.
 *
 * @internal
 */
final class ApplicationFacts
{
    public function __construct(private readonly Transports $transports, private readonly CheckFacts $php)
    {
    }

    /** @return array<string, mixed> */
    public function read(): array
    {
        return [
            'symfony' => Kernel::VERSION,
            'transports' => $this->transports->facts(),
            'failure_transports' => $this->transports->failure(),
            'lock' => $this->transports->lock(),
        ] + $this->php->read();
    }
}
