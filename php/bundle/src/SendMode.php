<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle;

/** When deferred events go to the queue: `send` of the configuration. */
enum SendMode: string
{
    case Immediately = 'immediately';
    case OnTerminate = 'on_terminate';
    case AfterCommit = 'after_commit';
    case Transactional = 'transactional';
}
