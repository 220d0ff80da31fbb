<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * A backend that runs the listeners itself, in this process, so that what they throw comes out of send(). It is never called
 * while a transaction is being committed.
 */
interface InProcessBackendInterface extends BackendInterface
{
}
