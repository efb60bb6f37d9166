from bakery import RELEASE


def release(get_response):
    """Says in each response which release it is from."""

    def middleware(request):
        response = get_response(request)
        response["X-Release"] = RELEASE
        return response

    return middleware
