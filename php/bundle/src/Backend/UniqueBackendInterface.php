<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * A backend that obeys {@see DeferredJob::$unique}: while a job with that key waits in its queue, another one is not added, which is no
 * failure. With any other backend, an event with a unique key is refused when it is deferred.
 */
interface UniqueBackendInterface extends BackendInterface
{
}
