<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

/** The application behind the front controller: a kernel as App\Kernel is. */
final class AppKernel extends TestKernel
{
    public function __construct(string $environment, bool $debug)
    {
        if ('broken' === $environment) {
            throw new \LogicException("The kernel\ncannot boot");
        }
        $_SERVER['FERVO_TEST_KERNEL'] = $environment.' '.var_export($debug, true);
        // The folder that the test has made; its configuration, too.
        parent::__construct((string) getenv('FERVO_TEST_FOLDER'), json_decode((string) getenv('FERVO_TEST_CONFIG'), true), debug: $debug);
    }
}
