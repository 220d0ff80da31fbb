<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * Why beanstalkd does not take a job.
 *
 * @internal
 */
final class BeanstalkdRefusal
{
    /** @param bool $isOfJob of this one for ever; else of any job, for now */
    public function __construct(public readonly string $reason, public readonly bool $isOfJob)
    {
    }
}
